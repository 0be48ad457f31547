import assert from 'node:assert/strict'
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePort } from '@prime-vpn/server'

const PRIME = fileURLToPath(new URL('../bin/prime.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'prime-serve-'))
// Passable, or the database, which never runs as root, would be moved out of it.
chmodSync(folder, 0o711)
const running = new Set<ChildProcess>()
afterEach(async () => {
  for (const child of running) await end({ child }, 'SIGTERM')
})
after(() => {
  rmSync(folder, { recursive: true, force: true })
})

type Serving = { child: ChildProcess; url: string; out: () => string; err: () => string }

const environment = (env: Record<string, string>) => ({
  PATH: process.env.PATH ?? '',
  TMPDIR: tmpdir(),
  DATA_DIR: join(folder, 'data'),
  ...env,
})

function start(env: Record<string, string>): Omit<Serving, 'url'> {
  const child = spawn(process.execPath, [PRIME, 'serve'], {
    cwd: folder,
    env: environment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  running.add(child)
  let [out, err] = ['', '']
  child.stdout.on('data', (data: Buffer) => (out += data.toString()))
  child.stderr.on('data', (data: Buffer) => (err += data.toString()))
  child.once('exit', () => running.delete(child))
  return { child, out: () => out, err: () => err }
}

/** `prime serve` until it says that it is ready. */
async function serving(env: Record<string, string> = {}, port?: number): Promise<Serving> {
  port ??= await freePort()
  const started = start({ PORT: String(port), RATE_LIMIT_ENABLED: 'false', ...env })
  while (!started.out().includes('is ready')) {
    if (started.child.exitCode !== null) throw new Error(started.err())
    await sleep(20)
  }
  return { ...started, url: `http://127.0.0.1:${port}/api/v1` }
}

/** Waits for the end of a process that refuses. */
async function refusal(env: Record<string, string>): Promise<{ code: number; text: string }> {
  const started = start(env)
  const [code] = (await once(started.child, 'exit')) as [number]
  return { code, text: started.err() }
}

async function end({ child }: Pick<Serving, 'child'>, signal: NodeJS.Signals): Promise<number | null> {
  const gone = once(child, 'exit') as Promise<[number | null]>
  child.kill(signal)
  return (await gone)[0]
}

const post = (url: string, body: unknown, token = '') =>
  fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
    body: JSON.stringify(body),
  })

const someone = { email: 'someone@example.com', password: 'a long enough phrase' }

test('the first start says where the one-time admin password lies, keeps its secrets to itself, and ends cleanly', async () => {
  const first = await serving()
  const path = join(folder, 'data/admin-password')
  assert.ok(first.out().includes(`Password   is in ${path}`), first.out())
  for (const file of [path, join(folder, 'data/secrets.json')]) assert.equal(statSync(file).mode & 0o777, 0o600, file)
  const password = readFileSync(path, 'utf8').trim()
  assert.ok(password.length >= 24)
  assert.ok(!first.err().includes(password) && !first.out().includes(password), 'no log holds the password')
  const signedIn = await post(`${first.url}/auth/login`, { email: 'admin@localhost', password })
  assert.equal(((await signedIn.json()) as { password_change_required?: boolean }).password_change_required, true)
  assert.equal(await end(first, 'SIGINT'), 0)
})

test('what was answered survives kill -9, and the next start is ready without help', async () => {
  // The address is in the tokens, so it stays the same.
  const port = await freePort()
  const before = await serving({}, port)
  assert.equal((await post(`${before.url}/auth/register`, someone)).status, 201)
  await end(before, 'SIGKILL')
  const next = await serving({}, port)
  const signedIn = await post(`${next.url}/auth/login`, someone)
  assert.equal(signedIn.status, 200)
  const { access_token, refresh_token } = (await signedIn.json()) as { access_token: string; refresh_token: string }
  await end(next, 'SIGKILL')
  const last = await serving({}, port)
  const me = await fetch(`${last.url}/users/me`, { headers: { authorization: `Bearer ${access_token}` } })
  assert.equal(me.status, 200, 'tokens of before are good')
  assert.equal((await post(`${last.url}/auth/refresh`, { refresh_token })).status, 200)
  assert.equal(await end(last, 'SIGTERM'), 0)
})

test('a second start on the same data folder, or on a taken port, says so and changes nothing', async () => {
  const first = await serving()
  const second = await refusal({ PORT: String(await freePort()) })
  assert.equal(second.code, 1)
  assert.match(second.text, /in use|already|another/i)
  const { port } = new URL(first.url)
  const other = await refusal({ PORT: port, DATA_DIR: join(folder, 'other') })
  assert.equal(other.code, 1)
  assert.match(other.text, new RegExp(`Port ${port} on 127\\.0\\.0\\.1 is taken`))
  assert.equal((await fetch(`${first.url.replace('/api/v1', '')}/health`)).status, 200)
  await end(first, 'SIGTERM')
})

test('every fault of the configuration is told at once, before anything is started', async () => {
  const { code, text } = await refusal({
    PORT: 'x',
    VPN_SUBNET: '10.0.0.0/30',
    RATE_LIMIT_AUTH_LOGIN: '5/0s',
    DATA_DIR: join(folder, 'never'),
  })
  assert.equal(code, 1)
  for (const name of ['PORT', 'VPN_SUBNET', 'RATE_LIMIT_AUTH_LOGIN']) assert.match(text, new RegExp(name))
  assert.throws(() => statSync(join(folder, 'never')))
})

test('other secrets than the database was started with are refused', async () => {
  const first = await serving()
  await end(first, 'SIGTERM')
  const { code, text } = await refusal({ PORT: String(await freePort()), SECRETS_FILE: join(folder, 'elsewhere.json') })
  assert.equal(code, 1)
  assert.match(text, /SECRETS_FILE is not the one/)
})

test('migrations are told, taken back and brought up by the command line', async () => {
  const prime = (...args: string[]) =>
    spawnSync(process.execPath, [PRIME, ...args], { cwd: folder, env: environment({}), encoding: 'utf8' })
  const all = JSON.parse(prime('migrate', 'status', '--json').stdout) as { name: string; applied_at: string | null }[]
  assert.ok(all.length > 5 && all.every((m) => m.applied_at !== null))
  const newest = all.at(-1)?.name ?? ''
  assert.equal(prime('migrate', 'down').stdout.trim(), `took back ${newest}`)
  assert.equal(prime('migrate', 'up').stdout.trim(), `applied ${newest}`)
  assert.equal(prime('migrate', 'up').stdout.trim(), 'Nothing to do.')
  for (const wrong of [
    ['migrate'],
    ['migrate', 'sideways'],
    ['migrate', 'down', '--steps', '0'],
    ['nonsense'],
    ['keys'],
    ['serve', 'x'],
  ]) {
    const { status, stderr } = prime(...wrong)
    assert.equal(status, 2, wrong.join(' '))
    assert.match(stderr, /^prime/)
  }
  assert.match(prime('help').stdout, /serve/)
  assert.match(prime('migrate', '--help').stdout, /--steps N/)
})
