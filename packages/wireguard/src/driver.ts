import { canonicalCidr } from './addresses.ts'
import { InvalidValue } from './errors.ts'
import { isPublicKey, isSecretKey } from './keys.ts'

/** A peer as it should be. `presharedKey: null` means none. */
export type PeerWish = { publicKey: string; presharedKey: string | null; allowedIps: string[] }

/** A peer as it is. `rx` and `tx` are bytes since the peer was added; `handshakeAt` is seconds since 1970, 0 = never. */
export type PeerState = PeerWish & { endpoint: string | null; rx: bigint; tx: bigint; handshakeAt: number }

export type PeerOp =
  /** Adds the peer or replaces its PSK and allowed IPs; its counters and session stay. */
  | { op: 'set'; peer: PeerWish }
  /** Drops its allowed IPs: no packet passes, its counters stay readable. An unknown key is left alone. */
  | { op: 'mute'; publicKey: string }
  /** Ends the peer and its counters. An unknown key is no error. */
  | { op: 'remove'; publicKey: string }

/** `publicKey` is empty before `configure`. */
export type InterfaceState = { publicKey: string; listenPort: number; peers: PeerState[] }

/** The orders to one WireGuard interface. Orders of one driver run one after the other, never at once. */
export interface Driver {
  readonly name: string
  readonly backend: 'kernel' | 'userspace'
  /** True when the interface is there and answers. @throws {WireguardUnavailable} we may not ask */
  exists(): Promise<boolean>
  /**
   * Makes the interface, down and without addresses, unless it is there. A userspace one runs in a session of its own
   * and outlives this process. @throws {WireguardUnavailable}
   */
  create(): Promise<void>
  /** Sets key and UDP port; touches neither when it is already so. @throws {DriverFailed} @throws {InvalidValue} */
  configure(o: { privateKey: string; listenPort: number }): Promise<void>
  /**
   * Carries out the orders in their sequence and touches only the peers named. An allowed IP that another peer holds
   * moves to the new one without a word. `remove` and then `set` of one key, next to each other, go out as one request
   * and make WireGuard forget endpoint, session and counters. @throws {DriverFailed} some may have been carried out: compare with `dump()`
   */
  apply(ops: PeerOp[]): Promise<void>
  /** Everything but the private key. @throws {DriverFailed} */
  dump(): Promise<InterfaceState>
  /** Removes the interface and ends its wireguard-go; not being there is no error. */
  destroy(): Promise<void>
  /** Changes whenever the interface is made anew, and with it all counters start at zero. */
  identity(): Promise<string>
}

/** What reads and writes peers: `wg` or the UAPI socket. */
export type Control = Pick<Driver, 'configure' | 'apply' | 'dump'>

/** What makes and ends the interface itself. */
export type Link = Pick<Driver, 'exists' | 'create' | 'destroy' | 'identity'>

/** Orders per request to WireGuard: large enough to be cheap, small enough that a stop between two is soon. */
export const BATCH = 250

/** @throws {InvalidValue} not a name Linux takes for an interface (IFNAMSIZ is 16 with its zero byte) */
export function checkInterfaceName(name: string): string {
  if (!/^[a-zA-Z0-9_=+.-]{1,15}$/.test(name) || name === '.' || name === '..')
    throw new InvalidValue('interface', 'must be 1 to 15 of letters, digits, _ = + . -')
  return name
}

/** An order whose every value is safe to write into a protocol of lines. @throws {InvalidValue} */
function checkOp(o: PeerOp): PeerOp {
  if (!isPublicKey(keyOf(o))) throw new InvalidValue('publicKey', 'must be a WireGuard public key')
  if (o.op !== 'set') return o
  const { presharedKey, allowedIps } = o.peer
  if (presharedKey !== null && !isSecretKey(presharedKey))
    throw new InvalidValue('presharedKey', 'must be base64 of 32 bytes')
  return { op: 'set', peer: { ...o.peer, allowedIps: allowedIps.map((ip) => canonicalCidr(ip, 'allowedIps')) } }
}

/** @throws {InvalidValue} */
export function checkInterfaceConfig(o: { privateKey: string; listenPort: number }): void {
  if (!isSecretKey(o.privateKey)) throw new InvalidValue('privateKey', 'must be base64 of 32 bytes')
  if (!Number.isInteger(o.listenPort) || o.listenPort < 1 || o.listenPort > 65535)
    throw new InvalidValue('listenPort', 'must be 1 to 65535')
}

/** The key an order is about. */
export const keyOf = (o: PeerOp): string => (o.op === 'set' ? o.peer.publicKey : o.publicKey)

/** Checks orders and cuts them into batches; orders that follow each other about one key stay in one. */
export function* batchesOf(ops: PeerOp[]): Generator<PeerOp[]> {
  const checked = ops.map(checkOp)
  for (let from = 0; from < checked.length;) {
    let to = Math.min(from + BATCH, checked.length)
    while (to < checked.length && sameKey(checked[to - 1], checked[to])) to++
    yield checked.slice(from, to)
    from = to
  }
}

const sameKey = (a: PeerOp | undefined, b: PeerOp | undefined): boolean => !!a && !!b && keyOf(a) === keyOf(b)
