import { readFile } from 'node:fs/promises'

export type PortRange = { from: number; to: number }

const LISTEN = '0A'
const UNCONNECTED = '07'
const LOWEST = 1024
const HIGHEST = 65_535

/**
 * The ports on which something on this machine waits for strangers: listening TCP sockets, and UDP sockets without
 * a partner below the range the kernel gives to clients (above it they are mostly clients of the moment).
 */
export async function listeningPorts(root = '/proc/net'): Promise<number[]> {
  const ephemeral = await ephemeralFrom()
  const ports = new Set<number>()
  for (const name of ['tcp', 'tcp6', 'udp', 'udp6']) {
    const text = await readFile(`${root}/${name}`, 'utf8').catch(() => '')
    for (const port of portsIn(text, name.startsWith('tcp') ? LISTEN : UNCONNECTED))
      if (name.startsWith('tcp') || port < ephemeral) ports.add(port)
  }
  return [...ports].toSorted((a, b) => a - b)
}

/** The local ports of sockets in one state, from the text of `/proc/net/tcp` and its kin. */
export function portsIn(text: string, state: string): number[] {
  const ports: number[] = []
  for (const line of text.split('\n').slice(1)) {
    const [, local = '', , st] = line.trim().split(/\s+/)
    const port = Number.parseInt(local.split(':')[1] ?? '', 16)
    if (st === state && port > 0) ports.push(port)
  }
  return ports
}

async function ephemeralFrom(): Promise<number> {
  const text = await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').catch(() => '32768')
  return Number.parseInt(text, 10)
}

/**
 * The longest run of unprivileged ports that holds none of `taken`: source NAT picks from it, so that no customer's
 * packet can look like one of the node's own services.
 */
export function freeRange(taken: readonly number[]): PortRange {
  const bounds = [LOWEST - 1, ...taken.filter((p) => p >= LOWEST && p <= HIGHEST), HIGHEST + 1].toSorted(
    (a, b) => a - b,
  )
  let best: PortRange = { from: HIGHEST, to: HIGHEST }
  for (const [i, low] of bounds.entries()) {
    const high = bounds[i + 1] ?? low
    if (high - low - 2 > best.to - best.from) best = { from: low + 1, to: high - 1 }
  }
  return best
}
