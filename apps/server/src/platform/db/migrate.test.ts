import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { test } from 'node:test'
import { freshDatabase } from '../testing/index.ts'
import { migrateDown, migrateUp, migrationStatus, type Sql } from './index.ts'

const FILES = new URL('../../migrations/', import.meta.url)

/** Everything our migrations make, as text: tables with columns, constraints, indexes, functions, triggers, views. */
async function shape(sql: Sql): Promise<string[]> {
  const rows = await sql<{ line: string }[]>`
    select 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || coalesce(column_default, '') || is_nullable as line
      from information_schema.columns where table_schema = 'public' and table_name not like 'kysely%'
    union all select 'constraint ' || conrelid::regclass || ' ' || pg_get_constraintdef(oid) from pg_constraint
      where connamespace = 'public'::regnamespace and conrelid::regclass::text not like 'kysely%'
    union all select 'index ' || indexdef from pg_indexes where schemaname = 'public' and tablename not like 'kysely%'
    union all select 'function ' || pg_get_functiondef(p.oid) from pg_proc p where pronamespace = 'public'::regnamespace
    union all select 'trigger ' || pg_get_triggerdef(oid) from pg_trigger where not tgisinternal and tgrelid::regclass::text not like 'graphile%'
    union all select 'view ' || viewname || definition from pg_views where schemaname = 'public'`
  return rows.map((row) => row.line).toSorted()
}

test('all migrations go up, down to nothing, and up again to the same', async (t) => {
  const { owner, ownerUrl } = await freshDatabase(t)
  const names = (await readdir(FILES)).filter((name) => /^\d{4}_/.test(name)).length
  const first = await shape(owner)
  assert.ok(first.some((line) => line.startsWith('column users.')))
  assert.equal((await migrateDown(ownerUrl, 1_000)).length, names)
  assert.deepEqual(await shape(owner), [])
  assert.ok((await migrationStatus(ownerUrl)).every((m) => m.applied_at === null))
  assert.equal((await migrateUp(ownerUrl)).length, names)
  assert.deepEqual(await shape(owner), first)
})

test('racing instances apply each migration once', async (t) => {
  const { ownerUrl } = await freshDatabase(t)
  await migrateDown(ownerUrl, 1_000)
  const applied = await Promise.all([migrateUp(ownerUrl), migrateUp(ownerUrl), migrateUp(ownerUrl)])
  const all = applied.flat()
  assert.equal(new Set(all).size, all.length)
  assert.ok((await migrationStatus(ownerUrl)).every((m) => m.applied_at !== null))
})

test('the role of run time makes no table and cannot change the audit log', async (t) => {
  const { sql } = await freshDatabase(t)
  await sql`insert into audit_log (action) values ('test')`
  assert.equal((await sql`select from audit_log`).length, 1)
  await assert.rejects(sql`update audit_log set action = 'other'`, /permission denied/)
  await assert.rejects(sql`delete from audit_log`, /permission denied/)
  await assert.rejects(sql`truncate audit_log`, /permission denied/)
  await assert.rejects(sql`create table mine (id int)`, /permission denied/)
  await assert.rejects(sql`drop table users`, /must be owner/)
})

test('a database that a newer release has migrated is told as that, and left alone', async (t) => {
  const { owner, ownerUrl } = await freshDatabase(t)
  await owner`insert into kysely_migration (name, timestamp) values ('9999_of_tomorrow', now()::text)`
  await assert.rejects(migrateUp(ownerUrl), /migration 9999_of_tomorrow, which this release does not know/)
  await assert.rejects(migrateDown(ownerUrl), /9999_of_tomorrow/)
})

test('a database of an unreleased earlier state is told as that, and how to make it anew', async (t) => {
  const { owner, ownerUrl } = await freshDatabase(t)
  await owner`delete from kysely_migration where name like '0010_%'`
  for (const act of [migrateUp, migrateDown])
    await assert.rejects(act(ownerUrl), ({ message }: Error) => {
      assert.match(message, /not those of this release.*before the first release.*keep what you need.*empty DATA_DIR/)
      assert.doesNotMatch(message, /corrupted/)
      return true
    })
})
