import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { memoryKv } from '../../platform/kv/index.ts'
import { codeAt } from '../testing/authenticator.ts'
import { openHouse, PUBLIC_URL, type LoginBody, type Member } from '../testing/house.ts'
import { PasskeyDevice } from '../testing/passkey-device.ts'

const house = await openHouse({ after }, { jobs: true, env: { ANONYMOUS_ACCOUNTS: 'true' } })
const { sql } = house.database

const post = (path: string, token: string, body: object = {}) => house.call('POST', `/api/v1${path}`, { token, body })

/** With an authenticator app, recovery codes, a passkey and an API token. */
async function withEverything(member: Member): Promise<{ apiToken: string }> {
  const { token } = member
  const { secret } = (await post('/auth/2fa/setup', token)).json<{ secret: string }>()
  assert.equal((await post('/auth/2fa/enable', token, { code: codeAt(secret) })).statusCode, 200)
  const options = (await post('/auth/passkeys/register/options', token)).json()
  const credential = new PasskeyDevice().create(options, { origin: PUBLIC_URL })
  assert.equal((await post('/auth/passkeys/register/verify', token, { credential })).statusCode, 201)
  const expires_at = new Date(Date.now() + 86_400_000).toISOString()
  const made = await post('/users/me/api-tokens', token, { name: 'x', scopes: ['account'], expires_at })
  return { apiToken: made.json<{ token: string }>().token }
}
const statusOf = async (token: string) => (await house.call('GET', '/api/v1/users/me', { token })).statusCode

test('the last super admin who lost every factor signs in by the password after a reset, and nothing of before is left', async () => {
  const boss = await house.staff('boss@example.com', 'super_admin')
  const other = await house.member('other@example.com')
  const { apiToken } = await withEverything(boss)
  const others = await withEverything(other)
  assert.equal((await house.login(boss.email)).json<{ error: { code: string } }>().error.code, 'TOTP_REQUIRED')

  const reset = await house.auth.resetFactors('  BOSS@example.com ')
  assert.deepEqual(reset, {
    user_id: boss.id,
    authenticator: true,
    recovery_codes: 10,
    passkeys: 1,
    sessions: 1,
    api_tokens: 1,
    mailed: true,
  })
  assert.deepEqual([await statusOf(boss.token), await statusOf(apiToken)], [401, 401])
  const again = await house.login(boss.email)
  assert.equal(again.statusCode, 200)
  assert.equal(await statusOf(again.json<LoginBody>().access_token), 200)
  const [mail] = await house.mailed(boss.email, 'Your second factors were removed')
  assert.match(mail?.text ?? '', /by its operator/)
  const rows = await sql<{ actor_id: string | null; subject_id: string; fields: string[] }[]>`
    select actor_id, subject_id, fields from audit_log where action = 'user.factors_reset_by_operator'`
  assert.deepEqual([rows.length, rows[0]?.actor_id, rows[0]?.subject_id], [1, null, boss.id])
  assert.ok(rows[0]?.fields.includes('passkeys'))

  assert.deepEqual([await statusOf(other.token), await statusOf(others.apiToken)], [200, 200])
  assert.equal((await house.login(other.email)).json<{ error: { code: string } }>().error.code, 'TOTP_REQUIRED')
})

test('a reset by a command that shares nothing but the database ends the sockets of the service at once', async (t) => {
  const member = await house.member('sockets@example.com')
  const command = await openHouse(t, { beside: { ...house, kv: memoryKv() } })
  const heard = new Promise<unknown>((resolve) => house.auth.onSessionRevoked(resolve))
  await command.auth.resetFactors(member.email)
  const late = sleep(3_000, 'nothing', { ref: false })
  assert.deepEqual(await Promise.race([heard, late]), { userId: member.id, sessionId: null })
})

test('a reset is by id, too, tells what it found, and of an account without an address that nobody gets a mail', async () => {
  const { account_number } = (await house.call('POST', '/api/v1/auth/register-anonymous', { body: {} })).json<{
    account_number: string
  }>()
  const signIn = () => house.call('POST', '/api/v1/auth/login', { body: { account_number } })
  const { user } = (await signIn()).json<LoginBody>()
  const { user_id, mailed, sessions, authenticator } = await house.auth.resetFactors(user.id.toUpperCase())
  assert.deepEqual([user_id, mailed, sessions, authenticator], [user.id, false, 1, false])
  assert.equal((await signIn()).statusCode, 200)
  for (const nobody of ['nobody@example.com', crypto.randomUUID(), ''])
    await assert.rejects(house.auth.resetFactors(nobody), { code: 'NOT_FOUND' })
})
