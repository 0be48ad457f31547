import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { liveSessions } from '../auth/session/store.ts'
import type { SessionQuery } from '../auth/index.ts'
import { freshDatabase } from '../platform/testing/index.ts'
import { readSessionsAndMe } from './read.ts'

const { sql } = await freshDatabase({ after })
await sql`insert into users (id, email) select gen_random_uuid(), n || '@example.com' from generate_series(1, 4000) n`
await sql`
  insert into sessions (id, user_id, kind, idle_expires_at, expires_at)
  select gen_random_uuid(), id, 'token', now() + interval '1 day', now() + interval '1 day' from users`

/** How PostgreSQL reads some sessions: the plan, a step a line. */
async function planOf(query: SessionQuery, many: number): Promise<string[]> {
  const some = await sql<{ id: string; user_id: string }[]>`select id, user_id from sessions limit ${many}`
  const [ids, userIds] = [some.map(({ id }) => id), some.map((it) => it.user_id)]
  const pending = query(sql, ids, userIds) as unknown as { describe(): Promise<{ string: string }> }
  const { string } = await pending.describe()
  const lines = await sql.unsafe<{ 'QUERY PLAN': string }[]>(`explain ${string}`, [ids, userIds])
  return lines.map((line) => line['QUERY PLAN'])
}

for (const [name, query] of Object.entries({ liveSessions, readSessionsAndMe }))
  for (const many of [1, 16])
    test(`${name} reads ${many} of many thousands by their keys, never all users or sessions`, async () => {
      const plan = await planOf(query, many)
      assert.ok(plan.length > 3)
      assert.deepEqual(
        plan.filter((line) => /Seq Scan on (users|sessions|subscriptions|devices|connections)/.test(line)),
        [],
      )
    })
