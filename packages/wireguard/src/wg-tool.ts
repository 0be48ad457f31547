import {
  BATCH,
  checkInterfaceConfig,
  checkOps,
  chunks,
  type Control,
  type InterfaceState,
  type PeerOp,
  type PeerState,
} from './driver.ts'
import { DriverFailed } from './errors.ts'
import { FD3, run, withSecretFile } from './run.ts'
import { publicKeyOf } from './keys.ts'

/** Thirty-two zero bytes: how WireGuard says "no preshared key". */
const NO_PSK = Buffer.alloc(32).toString('base64')

/**
 * Peers through the program `wg`: for WireGuard in the kernel, works on wireguard-go too. Keys travel in a file without
 * a name, never as arguments, which every user of the machine can read.
 */
export function wgTool(name: string): Control {
  return {
    configure: (o) => configure(name, o),
    apply: (ops) => apply(name, ops),
    dump: async () => parseDump(await run('wg', ['show', name, 'dump'])),
  }
}

async function configure(name: string, o: { privateKey: string; listenPort: number }): Promise<void> {
  checkInterfaceConfig(o)
  const now = parseDump(await run('wg', ['show', name, 'dump']))
  const args = ['set', name]
  // Setting the port again makes wireguard-go close and open its socket: packets in between are lost.
  if (now.listenPort !== o.listenPort) args.push('listen-port', String(o.listenPort))
  const key = now.publicKey === publicKeyOf(o.privateKey) ? [] : ['private-key', FD3]
  if (args.length + key.length === 2) return
  await withSecretFile(`${o.privateKey}\n`, (fd) => run('wg', [...args, ...key], { fd }))
}

async function apply(name: string, ops: PeerOp[]): Promise<void> {
  for (const batch of chunks(checkOps(ops), BATCH)) {
    const known = batch.some((o) => o.op === 'mute') ? await peersOf(name) : new Set<string>()
    for (const like of runsOfOneKind(batch)) await applyRun(name, like, known)
  }
}

const isRemoval = (o: PeerOp): boolean => o.op === 'remove'

/** Cuts a batch where removals and changes alternate: `wg` takes them by different commands, and order counts. */
function* runsOfOneKind(batch: PeerOp[]): Generator<PeerOp[]> {
  let current: PeerOp[] = []
  for (const o of batch) {
    const [first] = current
    if (first && isRemoval(first) !== isRemoval(o)) {
      yield current
      current = []
    }
    current.push(o)
  }
  if (current.length > 0) yield current
}

async function applyRun(name: string, ops: PeerOp[], known: Set<string>): Promise<void> {
  const [first] = ops
  if (first && isRemoval(first)) {
    const args = ops.flatMap((o) => (o.op === 'remove' ? ['peer', o.publicKey, 'remove'] : []))
    await run('wg', ['set', name, ...args])
    return
  }
  const text = ops.map((o) => peerSection(o, known)).join('')
  for (const o of ops) if (o.op === 'set') known.add(o.peer.publicKey)
  // addconf replaces PSK and allowed IPs of the peers it names and leaves the others alone; syncconf walks all of them.
  if (text !== '') await withSecretFile(text, (fd) => run('wg', ['addconf', name, FD3], { fd }))
}

function peerSection(o: PeerOp, known: Set<string>): string {
  if (o.op === 'set') {
    const { publicKey, presharedKey, allowedIps } = o.peer
    return `[Peer]\nPublicKey = ${publicKey}\nPresharedKey = ${presharedKey ?? NO_PSK}\n${allowedLine(allowedIps)}`
  }
  // `wg` cannot say "only if it exists", and a peer must not be made by muting it.
  return o.op === 'mute' && known.has(o.publicKey) ? `[Peer]\nPublicKey = ${o.publicKey}\n` : ''
}

/** A section without this line leaves the peer no allowed IPs; `wg` does not take an empty one. */
const allowedLine = (ips: string[]): string => (ips.length === 0 ? '' : `AllowedIPs = ${ips.join(', ')}\n`)

async function peersOf(name: string): Promise<Set<string>> {
  return new Set((await run('wg', ['show', name, 'peers'])).split('\n').filter((line) => line !== ''))
}

/**
 * Reads `wg show <interface> dump`: a line of four fields for the interface, then one of eight for each peer, separated
 * by tabs (wg(8)). The private key, first field of the first line, is dropped.
 */
export function parseDump(text: string): InterfaceState {
  const [first = '', ...lines] = text.split('\n')
  const [, publicKey, listenPort] = first.split('\t')
  if (publicKey === undefined || listenPort === undefined) throw new DriverFailed('wg printed something unexpected')
  const peers = lines.filter((line) => line !== '').map(parsePeer)
  return { publicKey: publicKey === '(none)' ? '' : publicKey, listenPort: Number(listenPort), peers }
}

function parsePeer(line: string): PeerState {
  const [publicKey, psk, endpoint, allowedIps, handshake, rx, tx] = line.split('\t')
  if (!publicKey || !psk || !endpoint || !allowedIps || !handshake || !rx || !tx)
    throw new DriverFailed('wg printed something unexpected')
  return {
    publicKey,
    presharedKey: psk === '(none)' ? null : psk,
    allowedIps: allowedIps === '(none)' ? [] : allowedIps.split(','),
    endpoint: endpoint === '(none)' ? null : endpoint,
    rx: BigInt(rx),
    tx: BigInt(tx),
    handshakeAt: Number(handshake),
  }
}
