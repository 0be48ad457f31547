import { randomBytes } from 'node:crypto'
import { InvalidValue } from './errors.ts'
import { privateKeyObject, rawPublicKey } from './x25519.ts'

export type KeyPair = { privateKey: string; publicKey: string }

const KEY_TEXT = /^[A-Za-z0-9+/]{43}=$/

/**
 * Points whose order divides 8, as canonical little-endian hex: with them the shared secret is the same for everybody.
 * The other two of the seven usually listed, p and p+1, are 0 and 1 written non-canonically and fail that check first.
 * Source: https://cr.yp.to/ecdh.html#validate
 */
const SMALL_ORDER = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
])

/** Bytes of canonical base64 for exactly 32 bytes, or null: 44 characters, no stray bits in the last one. */
export function decodeKey(text: string): Buffer | null {
  if (typeof text !== 'string' || !KEY_TEXT.test(text)) return null
  const raw = Buffer.from(text, 'base64')
  return raw.length === 32 && raw.toString('base64') === text ? raw : null
}

/** True for a private or preshared key as WireGuard writes it: canonical base64 of 32 bytes. */
export const isSecretKey = (text: string): boolean => decodeKey(text) !== null

/**
 * True for a public key worth storing: canonical base64 of 32 bytes, a field element below 2^255-19 with the high bit
 * clear (so no key has two spellings), and no point of small order.
 */
export function isPublicKey(text: string): boolean {
  const raw = decodeKey(text)
  return raw !== null && isCanonicalElement(raw) && !SMALL_ORDER.has(raw.toString('hex'))
}

/** Little-endian and below p = 2^255-19, whose bytes are ed, ff x 30, 7f. */
function isCanonicalElement(raw: Buffer): boolean {
  const top = raw.readUInt8(31)
  if (top !== 0x7f) return top < 0x7f
  for (let i = 30; i > 0; i--) if (raw[i] !== 0xff) return true
  return raw.readUInt8(0) < 0xed
}

/** A fresh X25519 pair; the private half is clamped as `wg genkey` does it (RFC 7748, section 5). */
export function generateKeyPair(): KeyPair {
  const raw = randomBytes(32)
  raw.writeUInt8(raw.readUInt8(0) & 248, 0)
  raw.writeUInt8((raw.readUInt8(31) & 127) | 64, 31)
  const privateKey = raw.toString('base64')
  return { privateKey, publicKey: publicKeyOf(privateKey) }
}

/** The public half. @throws {InvalidValue} not base64 of 32 bytes */
export function publicKeyOf(privateKey: string): string {
  const raw = decodeKey(privateKey)
  if (!raw) throw new InvalidValue('privateKey', 'must be base64 of 32 bytes')
  return Buffer.from(rawPublicKey(privateKeyObject(raw))).toString('base64')
}

/** 32 random bytes in base64: the symmetric key mixed into a handshake. */
export const generatePresharedKey = (): string => randomBytes(32).toString('base64')
