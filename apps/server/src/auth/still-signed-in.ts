import type { Tx } from '../platform/db/index.ts'
import { Unauthenticated } from '../platform/errors.ts'
import { lockFactors } from './factor/store.ts'
import type { Principal } from './principal.ts'
import { isAlive } from './session/store.ts'

type Caller = Pick<Principal, 'userId' | 'sessionId'>

/**
 * Looks at the caller's session or API token once more. Rights are judged before a transaction, which may then wait for
 * the very one that takes them away: without this look what was asked for would outlive the session. Call it after the
 * lock on which both wait for one another.
 * @throws {Unauthenticated} it has ended
 */
export async function assertStillSignedIn(tx: Tx, { userId, sessionId }: Caller): Promise<void> {
  if (!(await isAlive(tx, sessionId, userId))) throw new Unauthenticated('The session has ended. Sign in again.')
}

/** Locks the caller's row for a change of what signs in or proves. @throws {Unauthenticated} the session has ended */
export async function lockCaller(tx: Tx, caller: Caller): Promise<void> {
  await lockFactors(tx, caller.userId)
  await assertStillSignedIn(tx, caller)
}
