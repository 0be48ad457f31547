import {
  batchesOf,
  checkInterfaceConfig,
  keyOf,
  type Control,
  type InterfaceState,
  type PeerOp,
  type PeerState,
} from './driver.ts'
import { DriverFailed } from './errors.ts'
import { fdPath, run, withSecrets } from './run.ts'
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
  const key = now.publicKey === publicKeyOf(o.privateKey) ? [] : ['private-key', fdPath(0)]
  if (args.length + key.length === 2) return
  await withSecrets([`${o.privateKey}\n`], (fds) => run('wg', [...args, ...key], fds))
}

async function apply(name: string, ops: PeerOp[]): Promise<void> {
  for (const batch of batchesOf(ops)) {
    const wanted = batch.some((o) => o.op === 'mute') ? await withoutMutesOfStrangers(name, batch) : batch
    if (wanted.some((o) => o.op === 'remove')) await applyBySet(name, wanted)
    else if (wanted.length > 0) await applyByConfig(name, wanted)
  }
}

/** `wg` cannot say "only if it exists", and a peer must not be made by muting it. */
async function withoutMutesOfStrangers(name: string, ops: PeerOp[]): Promise<PeerOp[]> {
  const known = new Set((await run('wg', ['show', name, 'peers'])).split('\n'))
  return ops.filter((o) => {
    if (o.op === 'set') known.add(o.peer.publicKey)
    if (o.op === 'remove') known.delete(o.publicKey)
    return o.op !== 'mute' || known.has(o.publicKey)
  })
}

/**
 * Many changes in one file: `addconf` replaces PSK and allowed IPs of the peers named there and leaves the others
 * alone, whereas `syncconf` walks all of them.
 */
async function applyByConfig(name: string, ops: PeerOp[]): Promise<void> {
  await withSecrets([ops.map(peerSection).join('')], (fds) => run('wg', ['addconf', name, fdPath(0)], fds))
}

function peerSection(o: PeerOp): string {
  const psk = o.op === 'set' ? `PresharedKey = ${o.peer.presharedKey ?? NO_PSK}\n` : ''
  const ips = o.op === 'set' ? o.peer.allowedIps : []
  // A section without AllowedIPs leaves the peer none; `wg` does not take an empty line.
  return `[Peer]\nPublicKey = ${keyOf(o)}\n${psk}${ips.length === 0 ? '' : `AllowedIPs = ${ips.join(', ')}\n`}`
}

/** A configuration file cannot remove, so these go as arguments of one `wg set`, each PSK in a file of its own. */
async function applyBySet(name: string, ops: PeerOp[]): Promise<void> {
  const secrets: string[] = []
  const args = ops.flatMap((o) => {
    if (o.op === 'remove') return ['peer', o.publicKey, 'remove']
    if (o.op === 'mute') return ['peer', o.publicKey, 'allowed-ips', '']
    const psk = fdPath(secrets.push(`${o.peer.presharedKey ?? NO_PSK}\n`) - 1)
    return ['peer', o.peer.publicKey, 'preshared-key', psk, 'allowed-ips', o.peer.allowedIps.join(',')]
  })
  await withSecrets(secrets, (fds) => run('wg', ['set', name, ...args], fds))
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
