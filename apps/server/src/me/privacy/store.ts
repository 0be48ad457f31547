import { maybeOne, one, type Db, type Tx } from '../../platform/db/index.ts'
import { INVENTORY } from './inventory.ts'
import type { Table } from './table.ts'

/** Asks for an export; an older one of the account gives way. */
export const insertExport = (db: Db, e: { id: string; userId: string; sessionId: string }) => db`
  insert into data_exports (id, user_id, session_id) values (${e.id}, ${e.userId}, ${e.sessionId})
  on conflict (user_id) do update
     set id = excluded.id, session_id = excluded.session_id, sealed = null, created_at = default, expires_at = default`

export const exportWanted = (db: Db, id: string): Promise<{ user_id: string } | undefined> =>
  maybeOne(db<{ user_id: string }[]>`
    select user_id from data_exports where id = ${id} and sealed is null and expires_at > clock_timestamp()`)

export const fillExport = (db: Db, id: string, sealed: Buffer) =>
  db`update data_exports set sealed = ${sealed} where id = ${id}`

/** The account's export, for the session that asked for it alone. */
export const readyExport = (
  db: Db,
  userId: string,
  sessionId: string,
): Promise<{ id: string; sealed: Buffer } | undefined> =>
  maybeOne(db<{ id: string; sealed: Buffer }[]>`
    select id, sealed from data_exports
     where user_id = ${userId} and session_id = ${sessionId} and sealed is not null and expires_at > clock_timestamp()`)

export const sweepExports = (db: Db) => db`delete from data_exports where expires_at < clock_timestamp()`

/** One table's rows of a person as JSON text: 64-bit counts stay exact. Names come from the inventory, never from a caller. */
async function rowsAsJson(tx: Tx, name: string, { whose, personal }: Table, userId: string): Promise<string> {
  const columns = Object.keys(personal).map((column) => `"${column}"`)
  const { rows } = await one(
    tx.unsafe<{ rows: string }[]>(
      `select coalesce(json_agg(t), '[]')::text as rows from (select ${columns.join(', ')} from "${name}" where ${whose}) t`,
      [userId],
    ),
  )
  return rows
}

/** Everything the inventory shows of a person, as the text of one JSON object. */
export async function personalData(tx: Tx, userId: string): Promise<string> {
  const parts: string[] = [`"exported_at":${JSON.stringify(new Date())}`]
  for (const [name, table] of Object.entries(INVENTORY)) {
    if (table.whose === null || Object.keys(table.personal).length === 0) continue
    parts.push(`${JSON.stringify(name)}:${await rowsAsJson(tx, name, table, userId)}`)
  }
  return `{${parts.join(',')}}`
}

/** Deletes what no reference leads to, then the account, with which all else goes. @returns whether it was there */
export async function deletePerson(tx: Tx, userId: string): Promise<boolean> {
  for (const [name, { whose, atErasure }] of Object.entries(INVENTORY)) {
    if (atErasure === 'delete') await tx.unsafe(`delete from "${name}" where ${whose}`, [userId])
  }
  const gone = await tx`delete from users where id = ${userId}`
  return gone.count === 1
}

/** Off at once, and nothing that staff wrote of it kept. */
export const markErasure = (tx: Tx, userId: string) =>
  tx`update users set is_active = false, status_reason = null, erasure_asked_at = clock_timestamp(),
                      updated_at = clock_timestamp()
      where id = ${userId}`

/** Accounts whose erasure was asked for more than an hour ago and is not done. */
export const erasuresLeft = async (db: Db): Promise<string[]> =>
  (
    await db<{ id: string }[]>`
      select id from users where erasure_asked_at < clock_timestamp() - interval '1 hour' order by erasure_asked_at limit 1000`
  ).map(({ id }) => id)
