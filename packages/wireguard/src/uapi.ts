import { connect } from 'node:net'
import {
  batchesOf,
  checkInterfaceConfig,
  type Control,
  type InterfaceState,
  type PeerOp,
  type PeerState,
} from './driver.ts'
import { DriverFailed } from './errors.ts'
import { publicKeyOf } from './keys.ts'

/** Milliseconds without a byte after which a request counts as failed; a batch of 250 takes about 50. */
const SILENCE_MS = 20_000
const NO_PSK = '0'.repeat(64)

export const SOCKET_FOLDER = '/var/run/wireguard'
export const socketPath = (name: string): string => `${SOCKET_FOLDER}/${name}.sock`

/** Peers through the control socket of wireguard-go (https://www.wireguard.com/xplatform/): no process is started. */
export function uapi(name: string): Control {
  const path = socketPath(name)
  return {
    configure: (o) => configure(path, o),
    apply: async (ops) => {
      for (const batch of batchesOf(ops)) await request(path, `set=1\n${batch.map(peerLines).join('')}\n`)
    },
    dump: async () => parseGet(await request(path, 'get=1\n\n')),
  }
}

async function configure(path: string, o: { privateKey: string; listenPort: number }): Promise<void> {
  checkInterfaceConfig(o)
  const now = parseGet(await request(path, 'get=1\n\n'))
  const key = now.publicKey === publicKeyOf(o.privateKey) ? '' : `private_key=${toHex(o.privateKey)}\n`
  // Setting the port again makes wireguard-go close and open its socket: packets in between are lost.
  const port = now.listenPort === o.listenPort ? '' : `listen_port=${o.listenPort}\n`
  if (key + port !== '') await request(path, `set=1\n${key}${port}\n`)
}

function peerLines(o: PeerOp): string {
  if (o.op === 'remove') return `public_key=${toHex(o.publicKey)}\nremove=true\n`
  if (o.op === 'mute') return `public_key=${toHex(o.publicKey)}\nupdate_only=true\nreplace_allowed_ips=true\n`
  const { publicKey, presharedKey, allowedIps } = o.peer
  const psk = presharedKey === null ? NO_PSK : toHex(presharedKey)
  const ips = allowedIps.map((ip) => `allowed_ip=${ip}\n`).join('')
  return `public_key=${toHex(publicKey)}\npreshared_key=${psk}\nreplace_allowed_ips=true\n${ips}`
}

const toHex = (key: string): string => Buffer.from(key, 'base64').toString('hex')
const fromHex = (key: string): string => Buffer.from(key, 'hex').toString('base64')

/**
 * One request on a connection of its own; gives the lines of the answer without `errno=0`.
 * @throws {DriverFailed} nobody listens (its cause tells), the answer is cut off, or errno is not 0
 */
export function request(path: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    const parts: Buffer[] = []
    const fail = (message: string, cause?: unknown): void => {
      socket.destroy()
      reject(new DriverFailed(message, cause))
    }
    socket.setTimeout(SILENCE_MS, () => fail('the control socket is silent'))
    socket.on('error', (cause) => fail('the control socket does not answer', cause))
    socket.on('close', () => fail('the control socket closed before its answer was complete'))
    socket.on('data', (part) => {
      parts.push(part)
      if (!endsAnswer(parts)) return
      const answer = Buffer.concat(parts).toString('latin1')
      const match = /(?:^|\n)errno=(-?\d+)\n\n$/.exec(answer.slice(-40))
      if (match?.[1] !== '0') return fail(`WireGuard refused the order (errno ${match?.[1] ?? 'missing'})`)
      resolve(answer.slice(0, answer.lastIndexOf('errno=')))
      socket.destroy()
    })
    socket.end(text)
  })
}

/** True when the last two bytes are newlines: an answer ends with an empty line and holds no other. */
function endsAnswer(parts: Buffer[]): boolean {
  const last = parts.at(-1)
  if (!last || last.length === 0 || last.at(-1) !== 10) return false
  return (last.length > 1 ? last.at(-2) : parts.at(-2)?.at(-1)) === 10
}

/** Reads the answer to `get=1` in one pass. The private key is turned into the public one and dropped. */
export function parseGet(answer: string): InterfaceState {
  const state: InterfaceState = { publicKey: '', listenPort: 0, peers: [] }
  let peer: PeerState | undefined
  for (let at = 0; at < answer.length;) {
    const end = answer.indexOf('\n', at)
    const equals = answer.indexOf('=', at)
    if (end < 0 || equals < 0 || equals > end) throw new DriverFailed('the control socket wrote something unexpected')
    const key = answer.slice(at, equals)
    const value = answer.slice(equals + 1, end)
    at = end + 1
    if (key === 'public_key') state.peers.push((peer = newPeer(value)))
    else if (peer) readPeerLine(peer, key, value)
    else if (key === 'private_key') state.publicKey = publicKeyOf(fromHex(value))
    else if (key === 'listen_port') state.listenPort = Number(value)
  }
  return state
}

const newPeer = (hex: string): PeerState => ({
  publicKey: fromHex(hex),
  presharedKey: null,
  allowedIps: [],
  endpoint: null,
  rx: 0n,
  tx: 0n,
  handshakeAt: 0,
})

function readPeerLine(peer: PeerState, key: string, value: string): void {
  switch (key) {
    case 'preshared_key':
      peer.presharedKey = value === NO_PSK ? null : fromHex(value)
      break
    case 'allowed_ip':
      peer.allowedIps.push(value)
      break
    case 'endpoint':
      peer.endpoint = value
      break
    case 'rx_bytes':
      peer.rx = BigInt(value)
      break
    case 'tx_bytes':
      peer.tx = BigInt(value)
      break
    case 'last_handshake_time_sec':
      peer.handshakeAt = Number(value)
      break
    default: // fields of newer versions and those nobody here needs
  }
}
