import { parseOptions, verify } from '@node-rs/bcrypt'
import { normalized } from './normalized.ts'

/** Above this a single check would hold a thread for seconds; the usual is 10 to 12. */
const MAX_COST = 15
const FORM = /^\$2[abxy]\$/

/** A hash of an imported user base. */
export const isBcrypt = (stored: string): boolean => FORM.test(stored)

function costOf(stored: string): number {
  try {
    return parseOptions(stored).cost
  } catch {
    return Infinity
  }
}

/**
 * Checks an imported hash. The old back end hashed what was typed, so that is tried first and our normal form second. Of
 * bcrypt only 72 bytes count; the hash that replaces this one is made of the whole password.
 */
export async function matchesBcrypt(stored: string, password: string): Promise<boolean> {
  if (costOf(stored) > MAX_COST) return false
  if (await verify(password, stored)) return true
  const normal = normalized(password)
  return normal !== password && verify(normal, stored)
}
