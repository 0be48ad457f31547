import { timingSafeEqual } from 'node:crypto'
import { credentialsByEmail, emailKey, endAccess, lockCredentials, setEmail, setVerified } from '../accounts/index.ts'
import { violatedConstraint, type Tx } from '../platform/db/index.ts'
import { invalidField, type AppError } from '../platform/errors.ts'
import { newId } from '../platform/ids.ts'
import { accountMac, forgetFailures } from './failures.ts'
import { failedProof } from './failed-proof.ts'
import { sendLater } from './mail/job.ts'
import { findMailToken, forgetMailedProofs, takeMailToken, takeWish, tryCode, type MailToken } from './mail/store.ts'
import { codeMac, linkTokenHash } from './mail/tokens.ts'
import type { Parts } from './parts.ts'

export type Proof = { token: string } | { email: string; code: string }

const KINDS: ('verify' | 'change_email')[] = ['verify', 'change_email']

const dead = (field: 'token' | 'code'): AppError =>
  failedProof(
    field === 'code' ? 'code' : 'secret',
    invalidField(field, 'is not valid or no longer so: ask for a new mail'),
  )

/** The mailed token this proof stands for, not used up yet. A wrong code has counted by then. */
async function tokenOf(parts: Parts, proof: Proof): Promise<MailToken> {
  if ('token' in proof) {
    const hash = linkTokenHash(proof.token)
    const found = hash ? await findMailToken(parts.db, hash, KINDS) : undefined
    if (!found) throw dead('token')
    return found
  }
  const sent = await tryCode(parts.db, proof.email, KINDS)
  const given = codeMac(parts.secrets, sent?.user_id ?? '', proof.code)
  if (!sent || !timingSafeEqual(sent.code_mac, given)) throw dead('code')
  return sent
}

/**
 * Uses the token up. The first proof of an address: what was made before it may be somebody else's, and goes. The user's
 * row is locked before the token's, as everybody does: two links used at once would wait for one another.
 * @returns what to announce, null when the token counts no more or the account is off
 */
async function applyProof(parts: Parts, tx: Tx, found: MailToken): Promise<(() => Promise<void>) | null> {
  const { user_id, kind, email, hash } = found
  const before = await lockCredentials(tx, user_id)
  if (!before?.is_active || !(await takeMailToken(tx, hash, KINDS))) return null
  let first: boolean
  if (kind === 'change_email') {
    if (!(await takeWish(tx, user_id, email))) return null
    await setEmail(tx, user_id, email)
    // What is kept by an address alone goes when nobody has it any more.
    if (before.email) await forgetFailures(tx, accountMac(parts.secrets, emailKey(before.email)))
    first = !before.is_verified
  } else {
    first = await setVerified(tx, user_id, email)
    if (!first) return null
  }
  await forgetMailedProofs(tx, user_id)
  return first ? endAccess(tx, parts.ends, user_id, 'first_verified') : async () => undefined
}

/**
 * Takes the proof that an address is the account's: the token of the link, or the typed code.
 * @throws {InvalidInput} unknown, used, expired, tried too often, or its account is off
 */
export async function verifyEmail(parts: Parts, proof: Proof): Promise<void> {
  const field = 'token' in proof ? 'token' : 'code'
  const found = await tokenOf(parts, proof)
  try {
    const announce = await parts.db.begin(async (tx) => {
      const applied = await applyProof(parts, tx, found)
      if (!applied) throw dead(field)
      return applied
    })
    await announce()
  } catch (error) {
    // Somebody else proved the address meanwhile.
    if (violatedConstraint(error) === 'users_one_per_email') throw dead(field)
    throw error
  }
}

/** Mails a fresh link and code, if the address has an unverified account; a job is queued either way. */
export async function resendVerification(parts: Parts, email: string): Promise<void> {
  const account = await credentialsByEmail(parts.db, email)
  await sendLater(parts, parts.db, 'verify', account?.id ?? newId())
}
