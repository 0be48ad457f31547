import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { adminNotices } from './admin-notice.ts'
import type { FirstAdmin } from './auth/index.ts'
import { temporaryFolder } from './platform/testing/index.ts'

const admin: FirstAdmin = { outcome: 'one-time', email: 'admin@localhost', password: 'aaaaaa-bbbbbb-cccccc-dddddd' }

test('a terminal shows the one-time password, and no file keeps it', async (t) => {
  const dataDir = await temporaryFolder(t)
  writeFileSync(join(dataDir, 'admin-password'), 'of an earlier start')
  const lines = await adminNotices(admin, { dataDir, terminal: true })
  assert.match(lines.join('\n'), /Password {3}aaaaaa-bbbbbb-cccccc-dddddd/)
  assert.deepEqual(readdirSync(dataDir), [])
})

test('output that is no terminal never holds the password: it lies in a file of its owner alone, the newest', async (t) => {
  const dataDir = await temporaryFolder(t)
  const path = join(dataDir, 'admin-password')
  writeFileSync(path, 'of an earlier start', { mode: 0o644 })
  const lines = (await adminNotices(admin, { dataDir, terminal: false })).join('\n')
  assert.ok(!lines.includes('aaaaaa'))
  assert.ok(lines.includes(path) && lines.includes('admin@localhost'))
  assert.equal(readFileSync(path, 'utf8'), 'aaaaaa-bbbbbb-cccccc-dddddd\n')
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.deepEqual(readdirSync(dataDir), ['admin-password'])
})

test('the file goes with the first start after the change, not when another instance has just written it', async (t) => {
  const dataDir = await temporaryFolder(t)
  const where = { dataDir, terminal: false }
  await adminNotices(admin, where)
  assert.deepEqual(await adminNotices({ outcome: 'told-elsewhere' }, where), [])
  assert.deepEqual(readdirSync(dataDir), ['admin-password'])
  assert.deepEqual(await adminNotices({ outcome: 'present' }, where), [])
  assert.deepEqual(readdirSync(dataDir), [])
})
