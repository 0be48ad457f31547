import { checkInterfaceName, type Control, type Driver, type Link } from './driver.ts'
import { kernelHasWireguard, kernelLink, readLink } from './link.ts'
import { uapi } from './uapi.ts'
import { userspaceLink } from './userspace.ts'
import { wgTool } from './wg-tool.ts'

export type DriverOptions = {
  /** How peers are written. Default: the `wg` tool for the kernel, the socket (`uapi`) for userspace. */
  control?: 'wg' | 'uapi'
}

/**
 * A driver for one interface; makes nothing yet. `auto` keeps to what an existing interface is, and otherwise takes the
 * kernel's WireGuard where there is one (found out by making an interface for a moment).
 * @throws {InvalidValue} the name is none for an interface
 * @throws {WireguardUnavailable} `auto` may not look
 */
export async function openDriver(
  interfaceName: string,
  backend: 'auto' | 'kernel' | 'userspace',
  o: DriverOptions = {},
): Promise<Driver> {
  const name = checkInterfaceName(interfaceName)
  const chosen = backend === 'auto' ? await chooseBackend(name) : backend
  const link = chosen === 'kernel' ? kernelLink(name) : userspaceLink(name)
  const control = chosen === 'userspace' && o.control !== 'wg' ? uapi(name) : wgTool(name)
  return inTurn(name, chosen, link, control)
}

async function chooseBackend(name: string): Promise<'kernel' | 'userspace'> {
  const link = await readLink(name)
  if (link) return link.kind === 'wireguard' ? 'kernel' : 'userspace'
  return (await kernelHasWireguard()) ? 'kernel' : 'userspace'
}

/**
 * Runs orders one after the other, in the sequence they came: a dump never meets a removal half-way (CVE-2024-26951),
 * and two changes of one peer cannot overtake each other.
 */
export function inTurn(name: string, backend: 'kernel' | 'userspace', link: Link, control: Control): Driver {
  let last: Promise<unknown> = Promise.resolve()
  const turn = <T>(act: () => Promise<T>): Promise<T> => {
    const mine = last.then(act, act)
    last = mine.catch(() => undefined)
    return mine
  }
  return {
    name,
    backend,
    exists: () => turn(link.exists),
    create: () => turn(link.create),
    destroy: () => turn(link.destroy),
    identity: () => turn(link.identity),
    configure: (config) => turn(() => control.configure(config)),
    apply: (ops) => turn(() => control.apply(ops)),
    dump: () => turn(control.dump),
  }
}
