import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chown, mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { Client } from 'pg'
import postgres from 'postgres'
import { defer, temporaryFolder } from '../testing/index.ts'
import { clearRemains, pidFile } from './cluster.ts'
import { embeddedPostgresUrl, FolderInUse, socketHost, startEmbeddedPostgres } from './index.ts'
import { startOf, until } from './process.ts'

const log = { info() {}, warn() {}, error() {} }

async function start(t: TestContext, dataDir: string, durability: 'durable' | 'throwaway' = 'throwaway') {
  const running = await startEmbeddedPostgres({ dataDir, log, durability })
  defer(t, () => running.stop())
  return running
}

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query({ text, rowMode: 'array' })).rows.flat() as unknown[]
  } finally {
    await client.end()
  }
}

/** Another process that starts the database, tells so on its standard output, and stays. */
async function startElsewhere(t: TestContext, dataDir: string) {
  const code = `
    import { startEmbeddedPostgres } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)}
    const log = { info() {}, warn() {}, error() {} }
    await startEmbeddedPostgres({ dataDir: process.argv[1], log })
    console.log('ready')
    setInterval(() => undefined, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', code, dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  defer(t, () => void child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return {
    async kill9() {
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    },
  }
}

async function postmasterOf(dataDir: string): Promise<number> {
  const pid = (await pidFile(join(dataDir, 'postgres/data')))?.pid
  assert.ok(pid)
  return pid
}

async function kill9(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL')
  assert.ok(await until(async () => (await startOf(pid)) === undefined, 5_000))
}

test('both clients reach it by its URL, features may not make tables, and it listens on no TCP port', async (t) => {
  const dataDir = await temporaryFolder(t)
  const { appUrl, ownerUrl, socket } = await start(t, dataDir)
  const sql = postgres(appUrl, socketHost(appUrl))
  const [row] = await sql`select current_user::text as who, current_setting('server_encoding') as encoding,
    current_setting('data_checksums') as sums, current_setting('listen_addresses') as tcp,
    lower('ÄÉ') as low, (select rolsuper from pg_roles where rolname = current_user) as super`
  assert.deepEqual(row, { who: 'prime_app', encoding: 'UTF8', sums: 'on', tcp: '', low: 'äé', super: false })
  await assert.rejects(sql`create table nope (id int)`, { code: '42501' })
  await sql.end()
  await query(ownerUrl, 'create table yes (id int)')
  assert.deepEqual(
    await query(ownerUrl, 'select current_user::text, rolsuper from pg_roles where rolname = current_user'),
    ['prime_owner', false],
  )
  assert.equal((await stat(socket)).mode & 0o777, 0o700)
})

test('what was committed is there after a stop and a second start', async (t) => {
  const dataDir = await temporaryFolder(t)
  const first = await startEmbeddedPostgres({ dataDir, log })
  await query(first.ownerUrl, 'create table kept as select 7 as n')
  assert.deepEqual(await query(first.appUrl, 'show fsync'), ['on'])
  assert.equal((await embeddedPostgresUrl(dataDir))?.ownerUrl, first.ownerUrl)
  await first.stop()
  assert.equal(await embeddedPostgresUrl(dataDir), undefined)
  const { ownerUrl } = await start(t, dataDir)
  assert.deepEqual(await query(ownerUrl, 'select n from kept'), [7])
})

test('a second process on the same folder is refused and leaves the first alone', async (t) => {
  const dataDir = await temporaryFolder(t)
  const other = await startElsewhere(t, dataDir)
  await assert.rejects(startEmbeddedPostgres({ dataDir, log }), FolderInUse)
  const urls = await embeddedPostgresUrl(dataDir)
  assert.ok(urls)
  assert.deepEqual(await query(urls.appUrl, 'select 1'), [1])
  await other.kill9()
  await clearRemains(join(dataDir, 'postgres/data'))
})

test('after kill -9 of the server the next start takes over its data', async (t) => {
  const dataDir = await temporaryFolder(t)
  const other = await startElsewhere(t, dataDir)
  const urls = await embeddedPostgresUrl(dataDir)
  assert.ok(urls)
  await query(urls.ownerUrl, 'create table kept as select 7 as n')
  const orphan = await postmasterOf(dataDir)
  await other.kill9()
  assert.ok(await startOf(orphan), 'PostgreSQL runs on without its parent')
  const { ownerUrl } = await start(t, dataDir, 'durable')
  assert.deepEqual(await query(ownerUrl, 'select n from kept'), [7])
  assert.equal(await startOf(orphan), undefined)
})

test('after kill -9 of the server and of PostgreSQL the next start recovers', async (t) => {
  const dataDir = await temporaryFolder(t)
  const other = await startElsewhere(t, dataDir)
  const urls = await embeddedPostgresUrl(dataDir)
  assert.ok(urls)
  await query(urls.ownerUrl, 'create table kept as select 7 as n')
  await other.kill9()
  await kill9(await postmasterOf(dataDir))
  const { ownerUrl } = await start(t, dataDir, 'durable')
  assert.deepEqual(await query(ownerUrl, 'select n from kept'), [7])
})

test('PostgreSQL killed under a running server comes back at the same address', async (t) => {
  const dataDir = await temporaryFolder(t)
  const { appUrl } = await start(t, dataDir)
  const killed = await postmasterOf(dataDir)
  await kill9(killed)
  const back = await until(() => query(appUrl, 'select 1').then(() => true, () => false), 20_000) // prettier-ignore
  assert.ok(back)
  assert.notEqual(await postmasterOf(dataDir), killed)
})

test('a left-over pid file whose number another process has now does not stop the start', async (t) => {
  const dataDir = await temporaryFolder(t)
  await (await startEmbeddedPostgres({ dataDir, log, durability: 'throwaway' })).stop()
  const data = join(dataDir, 'postgres/data')
  const { uid, gid } = await stat(data)
  const stranger = spawn('sleep', ['60'], { uid, gid, cwd: '/' })
  defer(t, () => void stranger.kill('SIGKILL'))
  await writeFile(join(data, 'postmaster.pid'), `${stranger.pid}\n${data}\n1\n5432\n\n\n\nready\n`, { mode: 0o600 })
  await chown(join(data, 'postmaster.pid'), uid, gid)
  const { appUrl } = await start(t, dataDir)
  assert.deepEqual(await query(appUrl, 'select 1'), [1])
  assert.equal(stranger.exitCode ?? stranger.signalCode, null, 'the stranger was left alone')
})

test('data of another major version is refused with words, and not touched', async (t) => {
  const dataDir = await temporaryFolder(t)
  const data = join(dataDir, 'postgres/data')
  await mkdir(data, { recursive: true, mode: 0o711 })
  await writeFile(join(data, 'PG_VERSION'), '15\n')
  await assert.rejects(startEmbeddedPostgres({ dataDir, log }), /is of PostgreSQL 15, this release brings 18/)
  assert.equal(await readFile(join(data, 'PG_VERSION'), 'utf8'), '15\n')
})

test('a data folder with a path too long for a socket works', async (t) => {
  const dataDir = join(await temporaryFolder(t), 'long-'.repeat(20), 'data, "here"')
  const { appUrl, socket } = await start(t, dataDir)
  assert.deepEqual(await query(appUrl, 'select 1'), [1])
  assert.ok(!socket.startsWith(dataDir))
  assert.equal((await stat(socket)).mode & 0o777, 0o700)
})

test('a socket folder with blanks, commas and quotes in its name works', async (t) => {
  const dataDir = join(await temporaryFolder(t), 'a, "b" %41')
  const { appUrl } = await start(t, dataDir)
  const sql = postgres(appUrl, socketHost(appUrl))
  assert.equal((await sql`select 1 as n`)[0]?.n, 1)
  await sql.end()
  assert.deepEqual(await query(appUrl, 'select 1'), [1])
})

test(
  'a signal to our process group, as Ctrl-C sends it, does not reach PostgreSQL',
  { skip: process.platform !== 'linux' && 'needs /proc' },
  async (t) => {
    const dataDir = await temporaryFolder(t)
    await start(t, dataDir)
    const pid = await postmasterOf(dataDir)
    const group = async (of: number) => (await readFile(`/proc/${of}/stat`, 'utf8')).split(') ')[1]?.split(' ')[2]
    assert.notEqual(await group(pid), await group(process.pid))
    assert.equal(await group(pid), String(pid))
  },
)
