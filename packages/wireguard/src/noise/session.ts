import { HandshakeFailed } from '../errors.ts'
import { seal, unseal } from './symmetric.ts'

const HEADER = 16
const TAG = 16
/** Packets may overtake each other by this many before they count as repeated. */
const WINDOW = 1024n
/** Plaintext is padded to a multiple of this: whitepaper, 5.4.6. */
const PAD = 16

export type SessionKeys = {
  /** Our name for the session, which the peer writes into what it sends. */
  localIndex: number
  remoteIndex: number
  sendKey: Uint8Array
  receiveKey: Uint8Array
}

/**
 * The transport of one handshake: messages of type 4 (whitepaper, 5.4.6). It never rekeys; the peer stops taking its
 * packets 180 s after the handshake.
 */
export class Session {
  readonly localIndex: number
  readonly #keys: SessionKeys
  #sent = 0n
  #highest = -1n
  #seen = 0n

  constructor(keys: SessionKeys) {
    this.localIndex = keys.localIndex
    this.#keys = keys
  }

  /** Seals one IP packet; an empty one is a keepalive. */
  encrypt(packet: Uint8Array = new Uint8Array(0)): Uint8Array {
    const padded = new Uint8Array(Math.ceil(packet.length / PAD) * PAD)
    padded.set(packet)
    const counter = this.#sent++
    const message = new Uint8Array(HEADER + padded.length + TAG)
    const view = new DataView(message.buffer)
    view.setUint32(0, 4, true)
    view.setUint32(4, this.#keys.remoteIndex, true)
    view.setBigUint64(8, counter, true)
    message.set(seal(this.#keys.sendKey, counter, padded), HEADER)
    return message
  }

  /**
   * Opens a message of type 4 and cuts the padding off by the length in the IP header; a keepalive gives no bytes.
   * @throws {HandshakeFailed} not for this session, seen before, or not genuine
   */
  decrypt(message: Uint8Array): Uint8Array {
    if (message.length < HEADER + TAG) throw new HandshakeFailed('a message is too short')
    const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
    if (view.getUint32(0, true) !== 4 || view.getUint32(4, true) !== this.localIndex)
      throw new HandshakeFailed('a message is not of this session')
    const counter = view.getBigUint64(8, true)
    if (this.#isRepeated(counter)) throw new HandshakeFailed('a message came twice or far too late')
    const plain = unseal(this.#keys.receiveKey, counter, message.subarray(HEADER))
    this.#remember(counter) // only now: a forged counter must not move the window
    return plain.subarray(0, packetLength(plain))
  }

  #isRepeated(counter: bigint): boolean {
    const age = this.#highest - counter
    return age >= WINDOW || (age >= 0n && ((this.#seen >> age) & 1n) === 1n)
  }

  /** `#seen` holds one bit for each counter of the window, bit 0 for the highest. */
  #remember(counter: bigint): void {
    const ahead = counter - this.#highest
    if (ahead > 0n) {
      const kept = ahead >= WINDOW ? 0n : this.#seen << ahead
      this.#seen = BigInt.asUintN(Number(WINDOW), kept) | 1n
      this.#highest = counter
    } else this.#seen |= 1n << -ahead
  }
}

/** The length an IP header tells. @throws {HandshakeFailed} no IP packet, or one longer than what came */
function packetLength(plain: Uint8Array): number {
  if (plain.length === 0) return 0
  const view = new DataView(plain.buffer, plain.byteOffset, plain.byteLength)
  const version = view.getUint8(0) >> 4
  const least = version === 4 ? 20 : 40
  if ((version !== 4 && version !== 6) || plain.length < least) throw new HandshakeFailed('not an IP packet')
  const length = version === 4 ? view.getUint16(2) : 40 + view.getUint16(4)
  if (length < least || length > plain.length) throw new HandshakeFailed('not an IP packet')
  return length
}
