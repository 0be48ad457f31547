import { randomBytes } from 'node:crypto'
import { hash, verify } from '@node-rs/argon2'
import { HashGate } from './gate.ts'

/** OWASP's first choice for argon2id, the package's default algorithm: 19 MiB, two passes, one lane. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 }
const CURRENT = '$argon2id$v=19$m=19456,t=2,p=1$'

/** One spelling for what looks alike: applied when a password is set and when it is checked (NIST 800-63B). */
export const normalized = (password: string): string => password.normalize('NFKC')

/** Hashing and checking, never more at once than the gate lets through. */
export type Passwords = {
  hash(password: string): Promise<string>
  /** Costs the same when there is no account (`stored` null): a hash nobody knows the password of is checked. */
  matches(stored: string | null, password: string): Promise<boolean>
  /** True when `stored` was made under another scheme or cost than today's. */
  isOutdated(stored: string): boolean
}

export async function createPasswords(gate = new HashGate()): Promise<Passwords> {
  const nobody = await hash(randomBytes(32), COST)
  return {
    hash: (password) => gate.run(() => hash(normalized(password), COST)),
    async matches(stored, password) {
      const right = await gate.run(() => verify(stored ?? nobody, normalized(password)))
      return right && stored !== null
    },
    isOutdated: (stored) => !stored.startsWith(CURRENT),
  }
}
