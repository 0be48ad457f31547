import { xchacha20poly1305 } from '@noble/ciphers/chacha.js'
import { HandshakeFailed } from '../errors.ts'
import { concat, hash, mac } from './symmetric.ts'

/** Sizes in bytes of the messages that are not transport: whitepaper, 5.4. */
export const INITIATION_SIZE = 148
export const RESPONSE_SIZE = 92
export const COOKIE_SIZE = 64

export const IDENTIFIER = new TextEncoder().encode('WireGuard v1 zx2c4 Jason@zx2c4.com')

const MAC = 16
const ZERO_MAC = new Uint8Array(MAC)
const label = (text: string): Uint8Array => new TextEncoder().encode(text)

/** The key of `mac1` for messages to the holder of a public key. */
export const mac1Key = (publicKey: Uint8Array): Uint8Array => hash(label('mac1----'), publicKey)

/** The key under which the holder of a public key seals cookies. */
export const cookieKey = (publicKey: Uint8Array): Uint8Array => hash(label('cookie--'), publicKey)

/** A message's type byte with its three zero bytes, followed by session indexes, all little-endian. */
export function header(type: number, ...indexes: number[]): Uint8Array {
  const bytes = new Uint8Array(4 + 4 * indexes.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, type, true)
  indexes.forEach((index, i) => view.setUint32(4 + 4 * i, index, true))
  return bytes
}

/** Ends a handshake message with `mac1` and, when the peer asked for it, `mac2` under its cookie. */
export function withMacs(body: Uint8Array, key: Uint8Array, cookie: Uint8Array | null): Uint8Array {
  const signed = concat(body, mac(key, body))
  return concat(signed, cookie === null ? ZERO_MAC : mac(cookie, signed))
}

/** `mac1` of a finished handshake message. */
export const mac1Of = (message: Uint8Array): Uint8Array => message.subarray(message.length - 2 * MAC, -MAC)

/** `mac2` of a finished handshake message. */
export const mac2Of = (message: Uint8Array): Uint8Array => message.subarray(message.length - MAC)

/** The message up to `mac1`. */
export const bodyOf = (message: Uint8Array): Uint8Array => message.subarray(0, message.length - 2 * MAC)

/**
 * Opens a cookie reply: it answers the message whose `mac1` is given.
 * @throws {HandshakeFailed} it does not verify
 */
export function openCookie(reply: Uint8Array, serverPublicKey: Uint8Array, mac1: Uint8Array): Uint8Array {
  const nonce = reply.subarray(8, 32)
  try {
    return xchacha20poly1305(cookieKey(serverPublicKey), nonce, mac1).decrypt(reply.subarray(32))
  } catch (cause) {
    throw new HandshakeFailed('a cookie does not verify', cause)
  }
}

/**
 * TAI64N: 12 bytes that grow with time, which a responder uses to refuse repeated initiations
 * (https://cr.yp.to/libtai/tai64.html; ten seconds are the TAI offset of 1970).
 * @param now nanoseconds since 1970
 */
export function tai64n(now: bigint): Uint8Array {
  const bytes = new Uint8Array(12)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, 2n ** 62n + 10n + now / 1_000_000_000n)
  view.setUint32(8, Number(now % 1_000_000_000n))
  return bytes
}
