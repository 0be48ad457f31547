import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { codeAt } from './testing/authenticator.ts'
import { openHouse, type LoginBody } from './testing/house.ts'

const house = await openHouse({ after }, { env: { ANONYMOUS_ACCOUNTS: 'true', REQUIRE_EMAIL_VERIFICATION: 'true' } })
const register = async (): Promise<string> => {
  const answer = await house.call('POST', '/api/v1/auth/register-anonymous', { body: {} })
  assert.equal(answer.statusCode, 201)
  return answer.json<{ account_number: string }>().account_number
}
const login = (account_number: string, more = {}) =>
  house.call('POST', '/api/v1/auth/login', { body: { account_number, ...more } })

test('an account number is all there is: it signs in however it is typed, and only its hash is kept', async () => {
  const number = await register()
  assert.match(number, /^[0-9A-HJKMNP-TV-Z]{26}$/)
  const typed = (number.toLowerCase().match(/.{1,4}/g) ?? []).join('-').replaceAll('0', 'o').replaceAll('1', 'l')
  for (const text of [number, typed]) {
    const answer = await login(text)
    assert.equal(answer.statusCode, 200, text)
    assert.equal(answer.json<LoginBody>().user.email, null)
  }
  const me = await house.call('GET', '/users/me', { token: (await login(number)).json<LoginBody>().access_token })
  assert.equal(me.json<{ email: null; is_verified: boolean }>().email, null)
  assert.equal(me.json<{ is_verified: boolean }>().is_verified, true, 'there is nothing to prove')
  const rows = await house.database.sql<{ row: string }[]>`select u::text as row from users u`
  assert.ok(rows.every(({ row }) => !row.includes(number)))
})

test('wrong, cut, disabled or mixed with a password it does not', async () => {
  const number = await register()
  const wrong = (number.startsWith('0') ? '1' : '0') + number.slice(1)
  for (const text of [wrong, number.slice(1), `${number}0`, 'x'])
    assert.equal((await login(text)).statusCode, 401, text)
  assert.equal((await login(number, { email: 'a@example.com', password: 'whatever it is' })).statusCode, 400)
  assert.equal((await house.call('POST', '/auth/login', { body: {} })).statusCode, 400)
  await house.database.sql`update users set is_active = false`
  assert.equal((await login(number)).statusCode, 401)
})

test('its second factor is asked for, and each code works once', async () => {
  const number = await register()
  const token = (await login(number)).json<LoginBody>().access_token
  const post = (path: string, body: object) => house.call('POST', `/api/v1/auth/2fa/${path}`, { token, body })
  const { secret } = (await post('setup', {})).json<{ secret: string }>()
  assert.equal((await post('enable', { code: codeAt(secret) })).statusCode, 200)
  const asked = await login(number)
  assert.equal(asked.json<{ error: { code: string } }>().error.code, 'TOTP_REQUIRED')
  const next = codeAt(secret, Date.now() + 30_000)
  assert.equal((await login(number, { totp: next })).statusCode, 200)
  assert.equal((await post('disable', { code: next })).statusCode, 401, 'a code works once')
})

test('a fresh sign-in stands for the password it does not have', async () => {
  const number = await register()
  const token = (await login(number)).json<LoginBody>().access_token
  assert.equal((await house.call('DELETE', '/api/v1/users/me', { token, body: { password: 'none' } })).statusCode, 401)
  await house.database.sql`update sessions set created_at = clock_timestamp() - interval '6 minutes'`
  assert.equal((await house.call('DELETE', '/api/v1/users/me', { token, body: {} })).statusCode, 401)
  const fresh = (await login(number)).json<LoginBody>().access_token
  assert.equal((await house.call('DELETE', '/api/v1/users/me', { token: fresh, body: {} })).statusCode, 202)
})

test('without ANONYMOUS_ACCOUNTS none is made', async () => {
  const closed = await openHouse({ after })
  assert.equal((await closed.call('POST', '/api/v1/auth/register-anonymous', { body: {} })).statusCode, 404)
})
