import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { startServer } from '@prime-vpn/server'

const PRIME = fileURLToPath(new URL('../bin/prime.js', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'prime-users-'))
// Passable, or the database, which never runs as root, would be moved out of it.
chmodSync(folder, 0o711)
const DATA_DIR = join(folder, 'data')
const server = await startServer({ DATA_DIR, PORT: '0', LOG_LEVEL: 'silent', RATE_LIMIT_ENABLED: 'false' })
after(async () => {
  await server.stop()
  rmSync(folder, { recursive: true, force: true })
})

const someone = { email: 'someone@example.com', password: 'a long enough phrase' }

/** What an authenticator app shows now (RFC 6238: SHA-1, 30 s, six digits) for a base32 secret. */
function totp(secret: string): string {
  const bits = secret
    .split('')
    .map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0'))
    .join('')
  const key = Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)))
  const step = Buffer.alloc(8)
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)))
  const mac = createHmac('sha1', key).update(step).digest()
  return String((mac.readUInt32BE(mac.readUInt8(19) & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0')
}

/** Beside the running service, as an operator calls it. */
async function prime(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const child = spawn(process.execPath, [PRIME, ...args], {
    cwd: folder,
    env: { PATH: process.env.PATH ?? '', DATA_DIR },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [out, err] = ['', '']
  child.stdout.on('data', (data: Buffer) => (out += data.toString()))
  child.stderr.on('data', (data: Buffer) => (err += data.toString()))
  const [code] = (await once(child, 'close')) as [number]
  return { code, out, err }
}

async function call(method: string, path: string, body?: object, token = '') {
  const answer = await fetch(`${server.url}/api/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body ? { 'content-type': 'application/json' } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  })
  return { status: answer.status, body: (await answer.json()) as Record<string, string> }
}

test('reset-factors opens an account to its password again, beside the running service', async () => {
  const { id = '' } = (await call('POST', '/auth/register', someone)).body
  const { access_token: token = '' } = (await call('POST', '/auth/login', someone)).body
  const { secret = '' } = (await call('POST', '/auth/2fa/setup', {}, token)).body
  assert.equal((await call('POST', '/auth/2fa/enable', { code: totp(secret) }, token)).status, 200)
  assert.equal((await call('POST', '/auth/login', someone)).status, 401)

  const reset = await prime('users', 'reset-factors', someone.email, '--json')
  assert.equal(reset.code, 0, reset.err)
  const { user_id, authenticator, recovery_codes, sessions } = JSON.parse(reset.out) as Record<string, unknown>
  assert.deepEqual([user_id, authenticator, recovery_codes, sessions], [id, true, 10, 1])
  assert.equal((await call('GET', '/users/me', undefined, token)).status, 401)
  assert.equal((await call('POST', '/auth/login', someone)).status, 200)

  const again = await prime('users', 'reset-factors', id)
  assert.equal(again.code, 0, again.err)
  assert.match(again.out, /had no second factor\.\nEnded 1 session and 0 API tokens\.\nA mail tells its owner/)
})

test('reset-factors says who is not there, how it is called, and what it does', async () => {
  const nobody = await prime('users', 'reset-factors', 'nobody@example.com')
  assert.equal(nobody.code, 1)
  assert.equal(nobody.err.trim(), 'prime users: There is no account with this e-mail address or id.')
  for (const wrong of [[], ['list'], ['reset-factors'], ['reset-factors', 'a', 'b'], ['reset-factors', 'a', '--now']]) {
    const { code, err } = await prime('users', ...wrong)
    assert.equal(code, 2, wrong.join(' '))
    assert.match(err, /prime users --help/)
  }
  const help = await prime('users', '--help')
  assert.equal(help.code, 0)
  assert.match(help.out, /prime users reset-factors <email\|id>/)
})
