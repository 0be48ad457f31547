import { z } from 'zod'
import { accountById, assertSuperAdminRemains, endAccess, type AccessEnd } from '../../accounts/index.ts'
import type { Auth, Principal } from '../../auth/index.ts'
import { audit } from '../../platform/audit.ts'
import type { Db, Sql } from '../../platform/db/index.ts'
import { enqueue } from '../../platform/jobs.ts'
import type { Secrets } from '../../platform/secrets.ts'
import { deletePerson, erasuresLeft, markErasure } from './store.ts'

export const ERASE_JOB = 'account-erase'
const Payload = z.object({ user_id: z.uuid() })

export type EraseDeps = {
  db: Sql
  secrets: Secrets
  auth: Pick<Auth, 'proveAgain' | 'forgetAddress'>
  ends: readonly AccessEnd[]
}

const queueErasure = (db: Db, userId: string): Promise<void> =>
  enqueue(db, ERASE_JOB, { user_id: userId }, `${ERASE_JOB}:${userId}`)

/** The hourly job: an erasure whose own job gave up is begun again, until it is done. */
export const sweepErasures =
  ({ db }: Pick<EraseDeps, 'db'>) =>
  async (): Promise<void> => {
    for (const userId of await erasuresLeft(db)) await queueErasure(db, userId)
  }

/**
 * Begins the erasure: the account is off and its access ended with the answer, its data goes in a job.
 * @throws {InvalidInput} {Unauthenticated} the password is missing or wrong {Conflict} the last super admin
 */
export async function askForErasure(deps: EraseDeps, caller: Principal, password: string | undefined): Promise<void> {
  await deps.auth.proveAgain(caller, password)
  const { userId } = caller
  const announce = await deps.db.begin(async (tx) => {
    await assertSuperAdminRemains(tx, userId)
    await markErasure(tx, userId)
    const announce = await endAccess(tx, deps.ends, userId, 'deactivated')
    await queueErasure(tx, userId)
    return announce
  })
  await announce()
}

/** The job: after it no table of ours holds the address, or anything else that is the person's. Safe to run twice. */
export const eraseJob =
  ({ db, auth }: EraseDeps) =>
  async (payload: unknown): Promise<void> => {
    const { user_id } = Payload.parse(payload)
    const account = await accountById(db, user_id)
    if (!account) return
    await db.begin(async (tx) => {
      if (account.email !== null) await auth.forgetAddress(tx, account.email)
      if (await deletePerson(tx, user_id))
        await audit(tx, { actor: null, action: 'user.erased', subject: { type: 'user', id: user_id } })
    })
  }
