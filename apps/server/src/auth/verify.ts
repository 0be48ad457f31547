import { timingSafeEqual } from 'node:crypto'
import { credentialsByEmail, credentialsById, endAccess, setEmail, setVerified } from '../accounts/index.ts'
import { violatedConstraint, type Tx } from '../platform/db/index.ts'
import { invalidField, Unavailable, type AppError } from '../platform/errors.ts'
import { newId } from '../platform/ids.ts'
import { confirmPassword } from './change-password.ts'
import { failedProof } from './failed-proof.ts'
import { sendLater } from './mail/job.ts'
import { deleteMailTokensOf, takeMailToken, takeWish, tryCode, wishEmail, type MailToken } from './mail/store.ts'
import { codeMac, linkTokenHash } from './mail/tokens.ts'
import type { Parts } from './parts.ts'

export type Proof = { token: string } | { email: string; code: string }

const KINDS: ('verify' | 'change_email')[] = ['verify', 'change_email']

const dead = (field: 'token' | 'code'): AppError =>
  failedProof(
    field === 'code' ? 'code' : 'secret',
    invalidField(field, 'is not valid or no longer so: ask for a new mail'),
  )

/** The hash of the mailed token this proof stands for. A wrong code has counted by then. */
async function tokenOf(parts: Parts, proof: Proof): Promise<Buffer> {
  if ('token' in proof) {
    const hash = linkTokenHash(proof.token)
    if (!hash) throw dead('token')
    return hash
  }
  const sent = await tryCode(parts.db, proof.email, KINDS)
  const given = codeMac(parts.secrets, sent?.user_id ?? '', proof.code)
  if (!sent || !timingSafeEqual(sent.code_mac, given)) throw dead('code')
  return sent.hash
}

/** The first proof of an address: what was made before it may be somebody else's, and goes. */
async function applyProof(
  parts: Parts,
  tx: Tx,
  { user_id, kind, email }: MailToken,
): Promise<(() => Promise<void>) | null> {
  let first: boolean
  if (kind === 'change_email') {
    const before = await credentialsById(tx, user_id)
    if (!before || !(await takeWish(tx, user_id, email))) return null
    await setEmail(tx, user_id, email)
    first = !before.is_verified
  } else {
    first = await setVerified(tx, user_id, email)
    if (!first) return null
  }
  await deleteMailTokensOf(tx, user_id)
  return first ? endAccess(tx, parts.ends, user_id, 'first_verified') : async () => undefined
}

/**
 * Takes the proof that an address is the account's: the token of the link, or the typed code.
 * @throws {InvalidInput} unknown, used, expired, or tried too often
 */
export async function verifyEmail(parts: Parts, proof: Proof): Promise<void> {
  const field = 'token' in proof ? 'token' : 'code'
  const hash = await tokenOf(parts, proof)
  try {
    const announce = await parts.db.begin(async (tx) => {
      const taken = await takeMailToken(tx, hash, KINDS)
      const applied = taken ? await applyProof(parts, tx, taken) : null
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

/**
 * Asks for another address. It counts once a mail to it was answered; whether it is free is not told.
 * @throws {Unauthenticated} the password is wrong {Unavailable} this installation sends no mail
 */
export async function requestEmailChange(parts: Parts, userId: string, email: string, password: string): Promise<void> {
  if (parts.mailer.kind === 'off')
    throw new Unavailable('This installation sends no mail, so it cannot prove an address.')
  await confirmPassword(parts, userId, password)
  await parts.db.begin(async (tx) => {
    await wishEmail(tx, userId, email)
    await sendLater(parts, tx, 'change_email', userId)
  })
}
