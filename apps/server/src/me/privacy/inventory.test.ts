import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { freshDatabase } from '../../platform/testing/index.ts'
import { columnsOf, INVENTORY } from './inventory.ts'

const NOT_OURS = ['kysely_migration', 'kysely_migration_lock']
const { owner } = await freshDatabase({ after })

const columns = await owner<{ name: string; columns: string[] }[]>`
  select c.table_name as name, array_agg(c.column_name::text order by c.column_name) as columns
    from information_schema.columns c
    join information_schema.tables t using (table_schema, table_name)
   where c.table_schema = 'public' and t.table_type = 'BASE TABLE' and c.table_name <> all (${NOT_OURS})
   group by 1 order by 1`

test('the privacy inventory names each column of each table, once, and none that is not there', () => {
  assert.deepEqual(Object.keys(INVENTORY).toSorted(), columns.map(({ name }) => name).toSorted())
  for (const { name, columns: present } of columns) {
    const entry = INVENTORY[name]
    assert.ok(entry)
    assert.deepEqual(columnsOf(entry).toSorted(), present.toSorted(), `${name}: enter the new column in inventory.ts`)
  }
})

test('each table says how long its rows stay', () => {
  for (const [name, { kept }] of Object.entries(INVENTORY)) assert.match(kept, /\w/, name)
})

test('a column that points at an account is personal and never exported as such', () => {
  for (const [name, entry] of Object.entries(INVENTORY)) {
    if (name === 'users') continue
    assert.ok(!columnsOf({ ...entry, sealed: {} }).includes('user_id'), name)
    const { sealed = {} } = entry
    if ('user_id' in sealed) assert.notEqual(entry.whose, null, name)
  }
})

test('what the inventory says of an erasure is what the database does with references to an account', async () => {
  const rows = await owner<{ name: string; rule: string }[]>`
    select k.conrelid::regclass::text as name, k.confdeltype as rule
      from pg_constraint k where k.contype = 'f' and k.confrelid = 'users'::regclass`
  assert.ok(rows.length > 10)
  for (const { name, rule } of rows) {
    const due = INVENTORY[name]?.atErasure
    assert.equal(due, rule === 'c' ? 'cascade' : 'unlink', name)
  }
})
