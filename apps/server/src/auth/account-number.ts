import { createHash, randomBytes } from 'node:crypto'
import { readCrockford } from './factor/recovery-codes.ts'

const LETTERS = 26
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const FORM = new RegExp(`^[${ALPHABET}]{${LETTERS}}$`)

/** 130 random bits in Crockford's base 32: the only credential of an anonymous account. */
export const newAccountNumber = (): string => [...randomBytes(LETTERS)].map((byte) => ALPHABET[byte & 31]).join('')

/** What of a number is stored, however it was typed; null for text that was never one. */
export function accountNumberHash(typed: string): Buffer | null {
  const number = readCrockford(typed)
  return FORM.test(number) ? createHash('sha256').update(`account-number\0${number}`).digest() : null
}
