import { isStaff, type Scope } from '../../accounts/index.ts'
import { audit } from '../../platform/audit.ts'
import { Conflict, Forbidden, invalidField, NotFound } from '../../platform/errors.ts'
import type { Idempotency } from '../../platform/http/index.ts'
import { newId } from '../../platform/ids.ts'
import { sendLater } from '../mail/job.ts'
import type { Parts } from '../parts.ts'
import type { Principal } from '../principal.ts'
import { makeSelfProving } from '../self-proving.ts'
import { lockCaller } from '../still-signed-in.ts'
import { deleteApiToken, insertApiToken, type ApiToken } from './store.ts'

const DAY_MS = 86_400_000
const LONGEST_MS = 366 * DAY_MS
const LONGEST_STAFF_MS = 30 * DAY_MS
const MOST = 50
/** Clocks of callers are not ours. */
const TOLERANCE_MS = 60_000

export type ApiTokenWish = { name: string; scopes: Scope[]; expires_at: Date }

function assertGood(parts: Parts, caller: Principal, wish: ApiTokenWish): void {
  if (wish.scopes.includes('staff') && !isStaff(caller.role)) throw new Forbidden('The scope `staff` is for staff.')
  const life = wish.expires_at.getTime() - parts.clock.now()
  if (life <= 0) throw invalidField('expires_at', 'must lie in the future')
  const [longest, words] = wish.scopes.includes('staff')
    ? [LONGEST_STAFF_MS, 'must be at most 30 days away when the scopes include `staff`']
    : [LONGEST_MS, 'must be at most one year away']
  if (life > longest + TOLERANCE_MS) throw invalidField('expires_at', words)
}

/**
 * Makes a token for automation. A repeat of a call that died half-way takes the found token back: its text is lost.
 * @returns the token with its text, which is not kept
 * @throws {Forbidden} {InvalidInput} {Conflict} there are 50 {Unauthenticated} the session has ended meanwhile
 */
export async function makeApiToken(
  parts: Parts,
  caller: Principal,
  wish: ApiTokenWish,
  requestId: string,
  idempotency: Idempotency | null,
): Promise<ApiToken & { token: string }> {
  assertGood(parts, caller, wish)
  const { userId } = caller
  const id = newId()
  const { text, hash } = makeSelfProving(parts.secrets, 'api-token', { id, userId })
  const scopes = [...new Set(wish.scopes)]
  return parts.db.begin(async (tx) => {
    await lockCaller(tx, caller)
    if (idempotency?.found) await deleteApiToken(tx, idempotency.found, userId)
    const made = await insertApiToken(
      tx,
      { id, userId, hash, scopes, name: wish.name, expiresAt: wish.expires_at },
      MOST,
    )
    if (!made) throw new Conflict(`There are ${MOST} API tokens already. Delete one first.`)
    await idempotency?.mark(tx, id)
    await sendLater(parts, tx, 'api_token_made', userId)
    if (isStaff(caller.role)) {
      const subject = { type: 'api_token', id }
      await audit(tx, { actor: userId, action: 'api_token.made', subject, fields: scopes, requestId })
    }
    return { ...made, token: text }
  })
}

/** @throws {NotFound} also for somebody else's */
export async function removeApiToken(parts: Parts, caller: Principal, id: string): Promise<void> {
  if (!(await deleteApiToken(parts.db, id, caller.userId))) throw new NotFound('The API token')
  // Sockets that were opened with it hang on its id.
  await parts.revocations.announce({ userId: caller.userId, sessionId: id })
}
