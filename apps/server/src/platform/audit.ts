import type { Db } from './db/index.ts'

export type AuditEntry = {
  actor: string | null
  action: string
  subject?: { type: string; id: string }
  /** Names of the fields that changed, never their values. */
  fields?: readonly string[]
  requestId?: string
}

/** Adds a row to the append-only audit log; hand in the transaction of the act itself. */
export async function audit(db: Db, entry: AuditEntry): Promise<void> {
  await db`
    insert into audit_log (actor_id, action, subject_type, subject_id, fields, request_id)
    values (${entry.actor}, ${entry.action}, ${entry.subject?.type ?? null}, ${entry.subject?.id ?? null},
            ${entry.fields ? [...entry.fields] : []}, ${entry.requestId ?? null})`
}
