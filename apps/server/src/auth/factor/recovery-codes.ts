import { createHash, randomBytes } from 'node:crypto'

const COUNT = 10
const BYTES = 15
/** Crockford's base 32: no I, L, O, U. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const LETTERS = (BYTES * 8) / 5
const FORM = new RegExp(`^[${ALPHABET}]{${LETTERS}}$`)

/** Bytes as base 32; their bits must fill whole letters. */
export function crockford(bytes: Uint8Array): string {
  let bits = 0n
  for (const byte of bytes) bits = (bits << 8n) | BigInt(byte)
  const letters: string[] = []
  for (let i = (bytes.length * 8) / 5; i > 0; i--) {
    letters.unshift(ALPHABET[Number(bits & 31n)] ?? '')
    bits >>= 5n
  }
  return letters.join('')
}

/** As a person may type it: case, blanks and dashes do not count, look-alikes are read as what they stand for. */
export const readCrockford = (typed: string): string =>
  typed.toUpperCase().replace(/[\s-]/g, '').replace(/O/g, '0').replace(/[IL]/g, '1')

/** 120 random bits in groups of four: too many to guess, so a plain hash is enough to keep them. */
const newCode = (): string => (crockford(randomBytes(BYTES)).match(/.{4}/g) ?? []).join('-')

export const newRecoveryCodes = (): string[] => Array.from({ length: COUNT }, newCode)

/** What of a code is stored, bound to its user; null for text that was never one. */
export function recoveryCodeHash(userId: string, typed: string): Buffer | null {
  const code = readCrockford(typed)
  return FORM.test(code) ? createHash('sha256').update(`recovery-code\0${userId}\0${code}`).digest() : null
}
