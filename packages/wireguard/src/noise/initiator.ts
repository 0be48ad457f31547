import { generateKeyPairSync, randomBytes, timingSafeEqual, type KeyObject } from 'node:crypto'
import { HandshakeFailed, InvalidValue } from '../errors.ts'
import { decodeKey, isPublicKey } from '../keys.ts'
import { privateKeyObject, rawPublicKey } from '../x25519.ts'
import { PROTOCOL, readSecond, writeFirst, type Party } from './ik.ts'
import {
  bodyOf,
  COOKIE_SIZE,
  header,
  IDENTIFIER,
  mac1Key,
  mac1Of,
  openCookie,
  RESPONSE_SIZE,
  tai64n,
  withMacs,
} from './messages.ts'
import { Session } from './session.ts'
import { concat, mac, SymmetricState } from './symmetric.ts'

export type InitiatorKeys = { privateKey: string; serverPublicKey: string; presharedKey: string | null }

/** Where time and chance come from; tests hand in their own. `now` gives nanoseconds since 1970. */
export type Sources = { now: () => bigint; ephemeral: () => KeyObject; index: () => number }

/** Nanoseconds a cookie holds: Cookie-Refresh-Time, whitepaper 6.1. */
const COOKIE_LIFE_NS = 120_000_000_000n

/**
 * The client's side of WireGuard's handshake, Noise_IKpsk2 (whitepaper, 5.4.2 to 5.4.4): `start` writes an initiation,
 * `finish` turns the response into a session, `takeCookie` remembers what a busy server asked for.
 */
export class Initiator {
  readonly #statics: KeyObject
  readonly #server: Uint8Array
  readonly #psk: Uint8Array
  readonly #sources: Sources
  #cookie: { value: Uint8Array; until: bigint } | null = null
  #open: { state: SymmetricState; me: Party; index: number; mac1: Uint8Array } | null = null

  /** @throws {InvalidValue} a key is none */
  constructor(keys: InitiatorKeys, sources: Sources = realSources) {
    this.#statics = privateKeyObject(keyBytes(keys.privateKey, 'privateKey'))
    if (!isPublicKey(keys.serverPublicKey)) throw new InvalidValue('serverPublicKey', 'must be a WireGuard public key')
    this.#server = keyBytes(keys.serverPublicKey, 'serverPublicKey')
    this.#psk = keys.presharedKey === null ? new Uint8Array(32) : keyBytes(keys.presharedKey, 'presharedKey')
    this.#sources = sources
  }

  /** A new initiation of 148 bytes; an answer to an earlier one is not taken any more. */
  start(): Uint8Array {
    const me = { statics: this.#statics, ephemeral: this.#sources.ephemeral(), psk: this.#psk }
    const state = new SymmetricState(PROTOCOL, IDENTIFIER)
    const index = this.#sources.index()
    const now = this.#sources.now()
    const body = concat(header(1, index), writeFirst(state, me, this.#server, tai64n(now)))
    const cookie = this.#cookie && this.#cookie.until > now ? this.#cookie.value : null
    const message = withMacs(body, mac1Key(this.#server), cookie)
    this.#open = { state, me, index, mac1: mac1Of(message) }
    return message
  }

  /** Turns the response of 92 bytes into a session. @throws {HandshakeFailed} it does not answer the last initiation */
  finish(response: Uint8Array): Session {
    const open = this.#open
    if (!open || !isMessage(response, 2, RESPONSE_SIZE)) throw new HandshakeFailed('not a response')
    const view = new DataView(response.buffer, response.byteOffset, response.byteLength)
    if (view.getUint32(8, true) !== open.index) throw new HandshakeFailed('a response to another initiation')
    const expected = mac(mac1Key(rawPublicKey(this.#statics)), bodyOf(response))
    if (!timingSafeEqual(expected, mac1Of(response))) throw new HandshakeFailed('mac1 does not verify')
    this.#open = null // a state half mixed with a bad answer is of no use
    readSecond(open.state, open.me, response.subarray(12, 60))
    const { forward, back } = open.state.split()
    const remoteIndex = view.getUint32(4, true)
    return new Session({ localIndex: open.index, remoteIndex, sendKey: forward, receiveKey: back })
  }

  /** Remembers the cookie of a busy server; the next `start` proves with it that we receive. @throws {HandshakeFailed} */
  takeCookie(reply: Uint8Array): void {
    const open = this.#open
    if (!open || !isMessage(reply, 3, COOKIE_SIZE)) throw new HandshakeFailed('not a cookie')
    const view = new DataView(reply.buffer, reply.byteOffset, reply.byteLength)
    if (view.getUint32(4, true) !== open.index) throw new HandshakeFailed('a cookie for another initiation')
    const value = openCookie(reply, this.#server, open.mac1)
    this.#cookie = { value, until: this.#sources.now() + COOKIE_LIFE_NS }
  }
}

const isMessage = (bytes: Uint8Array, type: number, size: number): boolean =>
  bytes.length === size && bytes[0] === type && bytes[1] === 0 && bytes[2] === 0 && bytes[3] === 0

function keyBytes(text: string, field: string): Uint8Array {
  const raw = decodeKey(text)
  if (!raw) throw new InvalidValue(field, 'must be base64 of 32 bytes')
  return new Uint8Array(raw)
}

let lastNow = 0n

/** The clock, made to grow with every call: a server refuses an initiation that is not newer than the last. */
function growingNow(): bigint {
  const now = BigInt(Date.now()) * 1_000_000n
  return (lastNow = now > lastNow ? now : lastNow + 1n)
}

const realSources: Sources = {
  now: growingNow,
  ephemeral: () => generateKeyPairSync('x25519').privateKey,
  index: () => randomBytes(4).readUInt32LE(),
}
