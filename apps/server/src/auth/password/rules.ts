import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { invalidField } from '../../platform/errors.ts'
import { normalized } from './normalized.ts'

export const MAX_LENGTH = 1024
export const STAFF_MIN_LENGTH = 15
/** Letters that must be left when the words of the context are taken out. */
const OWN_LETTERS = 3
const MIN_WORD = 3

/** A password on its way in: any text; judged as what it is, never trimmed or cut. */
export const PasswordText = z
  .string()
  .min(1)
  .max(4 * MAX_LENGTH)
  .meta({ description: `Up to ${MAX_LENGTH} characters, any of them; normalised by NFKC.` })

export type PasswordRules = {
  /**
   * Says what is wrong with a new password, or null.
   * @param staff longer ones for those who have power over others
   */
  fault(password: string, about: { email: string | null; staff: boolean }): string | null
  /** @throws {InvalidInput} naming `field` and the reason */
  assertGood(password: string, about: { email: string | null; staff: boolean }, field: string): void
}

/** The address, its local part and that part's pieces; the service's name with and without spaces. */
function contextWords(email: string | null, appName: string): string[] {
  const local = email?.split('@')[0] ?? ''
  const words = [
    email ?? '',
    local,
    ...local.split(/[._+-]/),
    appName,
    ...appName.split(/\s+/),
    appName.replace(/\s+/g, ''),
  ]
  return [...new Set(words.map((word) => normalized(word).toLowerCase()))]
    .filter((word) => word.length >= MIN_WORD)
    .toSorted((a, b) => b.length - a.length)
}

function isMadeOf(words: string[], password: string): boolean {
  let rest = password
  for (const word of words) rest = rest.replaceAll(word, ' ')
  return rest !== password && rest.replace(/[^\p{L}]/gu, '').length < OWN_LETTERS
}

/** NIST 800-63B: length, a list of the most used, nothing made of the context; no rules of composition. */
export function createPasswordRules(options: { minLength: number; appName: string }): PasswordRules {
  const common = new Set(readFileSync(new URL('common.txt', import.meta.url), 'utf8').split('\n'))

  const fault: PasswordRules['fault'] = (password, { email, staff }) => {
    const text = normalized(password)
    const least = staff ? Math.max(STAFF_MIN_LENGTH, options.minLength) : options.minLength
    const length = Array.from(text).length
    if (length < least) return `must be at least ${least} characters`
    if (length > MAX_LENGTH) return `must be at most ${MAX_LENGTH} characters`
    const lower = text.toLowerCase()
    if (common.has(lower)) return 'is one of the most used passwords'
    if (isMadeOf(contextWords(email, options.appName), lower))
      return 'must not be made of your e-mail address or the name of this service'
    return null
  }

  return {
    fault,
    assertGood(password, about, field) {
      const found = fault(password, about)
      if (found) throw invalidField(field, found)
    },
  }
}
