import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openPool } from '../db/index.ts'
import { freshDatabase } from './index.ts'

test('a fresh database is migrated, and the feature role may read it but not change its tables', async (t) => {
  const { sql } = await freshDatabase(t)
  assert.deepEqual([...(await sql`select count(*) from users`)], [{ count: 0n }])
  await assert.rejects(sql`create table extra (id int)`, { code: '42501' })
})

test('two fresh databases do not see each other', async (t) => {
  const [a, b] = await Promise.all([freshDatabase(t), freshDatabase(t)])
  await a.owner`create table only_here (id int)`
  assert.deepEqual([...(await b.sql`select to_regclass('only_here') as there`)], [{ there: null }])
})

test('a fresh database is gone when its scope ends', async () => {
  const ends: (() => Promise<void> | void)[] = []
  const { url } = await freshDatabase({ after: (done) => void ends.push(done) })
  for (const end of ends) await end()
  const late = openPool(url)
  await assert.rejects(late`select 1`, { code: '3D000' })
  await late.end()
})
