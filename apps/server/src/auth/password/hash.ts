import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { hash, verify } from '@node-rs/argon2'
import { isBcrypt, matchesBcrypt } from './bcrypt.ts'
import { HashGate } from './gate.ts'
import { normalized } from './normalized.ts'

/** OWASP's first choice for argon2id, the package's default algorithm: 19 MiB, two passes, one lane. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 }
const CURRENT = '$argon2id$v=19$m=19456,t=2,p=1$'
/** Milliseconds a refusal is held back at most, so that one slow check cannot slow all refusals for ever. */
const MAX_FLOOR_MS = 500

/** Hashing and checking, never more at once than the gate lets through. */
export type Passwords = {
  hash(password: string): Promise<string>
  /**
   * Takes the same time when there is no account (`stored` null): a hash nobody knows the password of is checked, and
   * where imported hashes are about, which take longer, every refusal waits as long as they do.
   */
  matches(stored: string | null, password: string): Promise<boolean>
  /** True when `stored` was made under another scheme or cost than today's. */
  isOutdated(stored: string): boolean
}

export async function createPasswords(gate = new HashGate()): Promise<Passwords> {
  const nobody = await hash(randomBytes(32), COST)
  let floorMs = 0

  async function check(stored: string, password: string): Promise<{ right: boolean; ms: number }> {
    const begun = performance.now()
    const imported = isBcrypt(stored)
    const right = imported ? await matchesBcrypt(stored, password) : await verify(stored, normalized(password))
    const ms = performance.now() - begun
    if (imported) floorMs = Math.min(MAX_FLOOR_MS, Math.max(floorMs, ms))
    return { right, ms }
  }

  return {
    hash: (password) => gate.run(() => hash(normalized(password), COST)),
    async matches(stored, password) {
      const { right, ms } = await gate.run(() => check(stored ?? nobody, password))
      if (right && stored !== null) return true
      // Not within the gate: waiting costs nothing, a slot does.
      if (floorMs > ms) await sleep(floorMs - ms)
      return false
    },
    isOutdated: (stored) => !stored.startsWith(CURRENT),
  }
}
