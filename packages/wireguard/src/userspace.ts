import { spawn, type ChildProcess } from 'node:child_process'
import { constants } from 'node:fs'
import { open, readFile, rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Link } from './driver.ts'
import { DriverFailed, WireguardUnavailable } from './errors.ts'
import { brand, identityOf, ip, readLink } from './link.ts'
import { request, socketPath } from './uapi.ts'

/** Milliseconds wireguard-go gets to make its interface and socket; it needs about 30 on an idle machine. */
const START_MS = 10_000
/** Milliseconds it gets to notice that its interface was deleted. */
const END_MS = 5_000
const STEP_MS = 15
/** Bit of CAP_NET_ADMIN in the kernel's capability sets: linux/capability.h. */
const CAP_NET_ADMIN = 1n << 12n

/** An interface carried by a wireguard-go process. */
export function userspaceLink(name: string): Link {
  const exists = async (): Promise<boolean> => (await answers(name)) && (await readLink(name)) !== null
  return {
    exists,
    create: async () => {
      if (!(await exists())) await start(name)
      await brand(name)
    },
    destroy: () => end(name),
    identity: () => identityOf(name),
  }
}

/** True when a wireguard-go listens; a dead one leaves a socket file at which nobody does. */
async function answers(name: string): Promise<boolean> {
  // An empty order changes nothing and is cheaper than reading every peer.
  return request(socketPath(name), 'set=1\n\n').then(
    () => true,
    (err: unknown) => {
      const code = err instanceof DriverFailed ? (err.cause as NodeJS.ErrnoException | undefined)?.code : undefined
      if (code === 'EACCES' || code === 'EPERM')
        throw new WireguardUnavailable('no-permission', 'the control socket may not be opened', err)
      return false
    },
  )
}

async function start(name: string): Promise<void> {
  // A wireguard-go whose interface has just been deleted still answers for a moment.
  if (!(await until(async () => !(await answers(name)), 1_000)))
    throw new WireguardUnavailable('name-taken', 'a WireGuard process of another network namespace has this name')
  if (await readLink(name)) throw new WireguardUnavailable('name-taken', 'another interface has this name')
  await checkRights()
  const { child, ended } = launch(name)
  if (await until(async () => (await answers(name)) && (await readLink(name)) !== null, START_MS, ended)) return
  if (ended.reason instanceof WireguardUnavailable) throw ended.reason
  child.kill('SIGKILL')
  throw new WireguardUnavailable('not-started', 'wireguard-go did not answer in time')
}

/**
 * Starts wireguard-go in its own session, without our environment, folder or files. Its output goes nowhere: a pipe
 * to us would end it with SIGPIPE after our death. The signal fires when it ends early.
 */
function launch(name: string): { child: ChildProcess; ended: AbortSignal } {
  const ended = new AbortController()
  const child = spawn('wireguard-go', ['--foreground', name], {
    detached: true,
    stdio: 'ignore',
    cwd: '/',
    env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LOG_LEVEL: 'silent' },
  })
  child.on('error', (cause: NodeJS.ErrnoException) =>
    ended.abort(
      cause.code === 'ENOENT'
        ? new WireguardUnavailable('no-tool', 'wireguard-go is not installed')
        : new WireguardUnavailable('not-started', 'wireguard-go could not be started', cause),
    ),
  )
  child.on('exit', () => ended.abort(new WireguardUnavailable('not-started', 'wireguard-go ended at once')))
  child.unref()
  return { child, ended: ended.signal }
}

/** Says beforehand what wireguard-go, whose output nobody reads, would stumble over. */
async function checkRights(): Promise<void> {
  const tun = await open('/dev/net/tun', constants.O_RDWR).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'EACCES' || cause.code === 'EPERM')
      throw new WireguardUnavailable('no-permission', '/dev/net/tun may not be opened', cause)
    throw new WireguardUnavailable('no-tun', 'there is no usable /dev/net/tun', cause)
  })
  await tun.close()
  const status = await readFile('/proc/self/status', 'utf8')
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`)
  if ((effective & CAP_NET_ADMIN) === 0n)
    throw new WireguardUnavailable('no-permission', 'making an interface needs CAP_NET_ADMIN')
}

/** Deleting the interface ends wireguard-go, which takes its socket away; one that is dead already cannot. */
async function end(name: string): Promise<void> {
  // A TUN device at whose socket nobody answers belongs to another program.
  if ((await answers(name)) && (await readLink(name))?.kind === 'tun') {
    await ip('link', 'delete', 'dev', name)
    if (!(await until(async () => !(await answers(name)), END_MS))) throw new DriverFailed('wireguard-go did not end')
  }
  if (!(await answers(name))) await rm(socketPath(name), { force: true })
}

/** Asks again and again; false when the time is up or the signal fires. */
async function until(is: () => Promise<boolean>, ms: number, signal?: AbortSignal): Promise<boolean> {
  const deadline = performance.now() + ms
  for (;;) {
    if (await is()) return true
    if (signal?.aborted || performance.now() > deadline) return false
    await sleep(STEP_MS)
  }
}
