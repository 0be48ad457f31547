import { readFile, readdir, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import { CannotRun } from './failures.ts'

const ROOT = '/proc/sys'
const V4 = 'net/ipv4/ip_forward'
const V6 = 'net/ipv6/conf/all/forwarding'

/** Values that were there before us, by path below /proc/sys, in the order in which they have to be put back. */
export const Former = z.array(z.tuple([z.string().regex(/^net\/[a-z0-9_./-]+$/i), z.string().regex(/^-?\d{1,10}$/)]))
export type Former = z.infer<typeof Former>

/**
 * What switching forwarding on will change, read before it is done: the kernel's master switches also reset the
 * switch of every interface and `accept_redirects`. Null when forwarding is on already, for all families asked for.
 */
export async function beforeForwarding(v6: boolean): Promise<Former | null> {
  const off4 = (await read(V4)) === '0'
  const off6 = v6 && (await read(V6)) === '0'
  if (!off4 && !off6) return null
  const former: Former = []
  if (off4) await remember(former, [V4, 'net/ipv4/conf/all/accept_redirects', ...(await each('ipv4', 'forwarding'))])
  if (off6) await remember(former, [V6, ...(await each('ipv6', 'forwarding')), ...(await each('ipv6', 'accept_ra'))])
  return former
}

/**
 * Lets the machine forward. Interfaces that learn their IPv6 route from router advertisements keep listening to them
 * (`accept_ra` 2): with 1 the kernel would forget its default route once it forwards.
 * @throws {CannotRun} the values may not be written here; the message names the command that does it
 */
export async function enableForwarding(v6: boolean): Promise<void> {
  await write(V4, '1')
  if (!v6 || (await read(V6)) === null) return
  for (const path of await each('ipv6', 'accept_ra')) if ((await read(path)) === '1') await write(path, '2')
  await write(V6, '1')
}

/** The settings of the tunnel's own interface; they vanish with it, so nothing has to be remembered. */
export async function hardenInterface(name: string, v6: boolean): Promise<void> {
  await write(`net/ipv4/conf/${name}/rp_filter`, '1')
  await write(`net/ipv4/conf/${name}/send_redirects`, '0')
  await write(`net/ipv4/conf/${name}/accept_redirects`, '0')
  if (!v6 || (await read(`net/ipv6/conf/${name}/disable_ipv6`)) === null) return
  await write(`net/ipv6/conf/${name}/disable_ipv6`, '0')
  await write(`net/ipv6/conf/${name}/accept_ra`, '0')
  await write(`net/ipv6/conf/${name}/accept_redirects`, '0')
}

/** True when packets of these families may be forwarded. */
export async function forwards(v6: boolean): Promise<boolean> {
  return (await read(V4)) === '1' && (!v6 || (await read(V6)) !== '0')
}

/** True when this kernel can speak IPv6 at all. */
export const hasIpv6 = async (): Promise<boolean> => (await read(V6)) !== null

/** Puts back what was there before us. A switch somebody turned off meanwhile is left as it is, with all it rules. */
export async function restoreForwarding(former: Former): Promise<void> {
  const untouched = new Set<string>()
  for (const master of [V4, V6]) if ((await read(master)) !== '1') untouched.add(family(master))
  for (const [path, value] of former) {
    if (untouched.has(family(path))) continue
    const now = await read(path)
    if (now !== null && now !== value) await write(path, value)
  }
}

const family = (path: string): string => path.split('/')[1] ?? ''

async function remember(former: Former, paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    const value = await read(path)
    if (value !== null) former.push([path, value])
  }
}

/** One setting of every interface there is, `default` included; `all` is the master switch and comes by itself. */
async function each(family: string, setting: string): Promise<string[]> {
  const base = `net/${family}/conf`
  const names = await readdir(`${ROOT}/${base}`).catch(() => [])
  return names.filter((name) => name !== 'all').map((name) => `${base}/${name}/${setting}`)
}

const read = (path: string): Promise<string | null> =>
  readFile(`${ROOT}/${path}`, 'utf8').then(
    (text) => text.trim(),
    () => null,
  )

async function write(path: string, value: string): Promise<void> {
  if ((await read(path)) === value) return
  try {
    await writeFile(`${ROOT}/${path}`, value)
  } catch (error) {
    const name = path.replaceAll('/', '.')
    throw new CannotRun(`${name} may not be set here; as root run: sysctl -w ${name}=${value}`, error)
  }
}
