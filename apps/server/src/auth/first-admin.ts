import { randomBytes } from 'node:crypto'
import { anySuperAdmin, insertAccount, setPassword } from '../accounts/index.ts'
import { audit } from '../platform/audit.ts'
import type { Tx } from '../platform/db/index.ts'
import { newId } from '../platform/ids.ts'
import { markOneTime, oneTimeMadeAt } from './one-time.ts'
import type { Parts } from './parts.ts'

/** Any number: instances that start together take turns here. */
const FIRST_ADMIN_LOCK = 7_460_011
const ONE_TIME_LIFE_S = 24 * 3_600
const DEFAULT_EMAIL = 'admin@localhost'

export type FirstAdmin =
  /** There is an admin with a password of their own. */
  | { outcome: 'present' }
  /** Made a moment ago by an instance that started beside us, and told there. */
  | { outcome: 'told-elsewhere' }
  /** Made with ADMIN_PASSWORD. */
  | { outcome: 'made'; email: string }
  /** For the eyes of who starts the service, once, never logged; good for 24 h. */
  | { outcome: 'one-time'; email: string; password: string }
  /** ADMIN_EMAIL belongs to a plain account, which is not made an admin by a setting. */
  | { outcome: 'email-taken'; email: string }

/** 120 bit, from letters and digits that are not mistaken for one another, in groups. */
function oneTimePassword(): string {
  const alphabet = 'abcdefghjkmnpqrstuvwxyz23456789ABCDEFGHJKLMNPQRSTUVWXYZ'
  const letters: string[] = []
  while (letters.length < 24) {
    for (const byte of randomBytes(32)) if (byte < 220) letters.push(alphabet[byte % alphabet.length] ?? '')
  }
  return (letters.slice(0, 24).join('').match(/.{6}/g) ?? []).join('-')
}

async function make(parts: Parts, tx: Tx): Promise<FirstAdmin> {
  const email = parts.config.ADMIN_EMAIL ?? DEFAULT_EMAIL
  const own = parts.config.ADMIN_PASSWORD
  const password = own ?? oneTimePassword()
  const hashedPassword = await parts.passwords.hash(password)
  const account = { id: newId(), email, hashedPassword, fullName: null, role: 'super_admin' as const, verified: true }
  const made = await insertAccount(tx, account)
  if (!made) return { outcome: 'email-taken', email }
  await audit(tx, { actor: null, action: 'user.first_admin_made', subject: { type: 'user', id: made.id } })
  if (own !== undefined) return { outcome: 'made', email }
  await markOneTime(tx, made.id, ONE_TIME_LIFE_S)
  return { outcome: 'one-time', email, password }
}

/** A one-time password that nobody changed is replaced, unless an instance that started beside us has just done so. */
async function renew(
  parts: Parts,
  tx: Tx,
  admin: { id: string; email: string | null },
  startedAt: Date,
): Promise<FirstAdmin> {
  const present = await oneTimeMadeAt(tx, admin.id)
  if (!present) return { outcome: 'present' }
  if (present.created_at > startedAt) return { outcome: 'told-elsewhere' }
  const password = oneTimePassword()
  await setPassword(tx, admin.id, await parts.passwords.hash(password))
  await markOneTime(tx, admin.id, ONE_TIME_LIFE_S)
  return { outcome: 'one-time', email: admin.email ?? '', password }
}

/**
 * Makes the first super admin, once, whatever number of instances start. ADMIN_PASSWORD never changes an account that is
 * there already.
 * @param startedAt when this process began
 */
export async function ensureFirstAdmin(
  parts: Parts,
  startedAt = new Date(Date.now() - process.uptime() * 1000),
): Promise<FirstAdmin> {
  return parts.db.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(${FIRST_ADMIN_LOCK}::bigint)`
    const admin = await anySuperAdmin(tx)
    return admin ? renew(parts, tx, admin, startedAt) : make(parts, tx)
  })
}
