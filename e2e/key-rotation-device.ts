import { execFileSync, spawn } from 'node:child_process'
import type { Connection, User } from './api.ts'
import { HOST, sh, type Customer, type Space, type World } from './world.ts'

/** A WireGuard key pair, made by the stock tool as a customer's device makes it. */
export function keyPair(): { privateKey: string; publicKey: string } {
  const privateKey = sh('wg', 'genkey').trim()
  const publicKey = execFileSync('wg', ['pubkey'], { encoding: 'utf8', input: privateKey }).trim()
  return { privateKey, publicKey }
}

/** The conf with the key that never left the device. */
export const withKey = (conf: string, privateKey: string): string =>
  conf.replace(/^# PrivateKey = .*$/m, `PrivateKey = ${privateKey}`)

/** Adds a device of a user. @returns its id */
export const addDevice = async ({ api }: World, user: User, publicKey?: string): Promise<string> => {
  const body = { name: 'Laptop', platform: 'linux', ...(publicKey ? { public_key: publicKey } : {}) }
  return (await api.must<{ id: string }>('POST', '/users/me/devices', user.token, body)).id
}

let counters = 0
/** Counts packets in a namespace that match. */
function counter(space: Space, hook: string, match: string): () => number {
  const name = `counted${++counters}`
  const chain = `chain x { type filter hook ${hook} priority -400; ${match} counter name c; }`
  space.run('nft', `table inet ${name} { counter c { }; ${chain}; }`)
  return () => Number(/"packets": (\d+)/.exec(space.run('nft', '-j', 'list', 'counters', 'table', 'inet', name))?.[1])
}

/** A customer who pings all the time; what goes into the tunnel and what comes out of it at the node is counted. */
export type Stream = {
  /** Packets to the node's WireGuard port: they leave whether anybody takes them or not. */
  sent: () => number
  /** Packets that the node took out of this very tunnel. */
  carried: () => number
  stop: () => void
}

export function stream({ node, wg }: World, { space }: Customer, { assigned_ip }: Connection): Stream {
  const sent = counter(space, 'output', 'udp dport 51820')
  const carried = counter(node, 'prerouting', `iifname "${wg}" ip saddr ${assigned_ip}`)
  const ping = spawn('ip', ['netns', 'exec', space.name, 'ping', '-n', '-i', '0.05', HOST], { stdio: 'ignore' })
  return { sent, carried, stop: () => void ping.kill('SIGKILL') }
}
