import { z } from 'zod'
import type { Auth, Principal } from '../../auth/index.ts'
import type { Sql } from '../../platform/db/index.ts'
import { NotFound } from '../../platform/errors.ts'
import type { Idempotency } from '../../platform/http/index.ts'
import { newId } from '../../platform/ids.ts'
import { enqueue } from '../../platform/jobs.ts'
import type { Secrets } from '../../platform/secrets.ts'
import { exportWanted, fillExport, insertExport, personalData, readyExport } from './store.ts'

export const EXPORT_JOB = 'account-export'
const SEAL = 'data-export'
const Payload = z.object({ export_id: z.uuid() })

export type ExportDeps = { db: Sql; secrets: Secrets }

/**
 * Has a copy of all personal data made, for this session to fetch within 24 hours. A repeat of a call that died half-way
 * finds it asked for: its job was queued with it.
 * @throws {InvalidInput} {Unauthenticated} the password is missing or wrong
 */
export async function askForExport(
  deps: ExportDeps & { auth: Pick<Auth, 'proveAgain'> },
  caller: Principal,
  password: string | undefined,
  idempotency: Idempotency | null,
): Promise<string> {
  await deps.auth.proveAgain(caller, password)
  if (idempotency?.found) return idempotency.found
  const id = newId()
  await deps.db.begin(async (tx) => {
    await insertExport(tx, { id, userId: caller.userId, sessionId: caller.sessionId })
    await idempotency?.mark(tx, id)
    await enqueue(tx, EXPORT_JOB, { export_id: id }, `${EXPORT_JOB}:${caller.userId}`)
  })
  return id
}

/** The JSON text. @throws {NotFound} not asked for by this session, not ready, or gone */
export async function readExport({ db, secrets }: ExportDeps, caller: Principal): Promise<string> {
  const ready = await readyExport(db, caller.userId, caller.sessionId)
  if (!ready) throw new NotFound('The export')
  return secrets.open(SEAL, ready.id, ready.sealed).toString()
}

/** The job: one reading of one moment, sealed. */
export const exportJob =
  ({ db, secrets }: ExportDeps) =>
  async (payload: unknown): Promise<void> => {
    const { export_id: id } = Payload.parse(payload)
    const wanted = await exportWanted(db, id)
    if (!wanted) return
    const text = await db.begin('isolation level repeatable read read only', (tx) => personalData(tx, wanted.user_id))
    await fillExport(db, id, secrets.seal(SEAL, id, Buffer.from(text)))
  }
