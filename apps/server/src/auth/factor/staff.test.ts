import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { codeAt } from '../testing/authenticator.ts'
import { openHouse, PASSWORD, type LoginBody } from '../testing/house.ts'

const house = await openHouse({ after }, { env: { NODE_ENV: 'production', MAIL: 'off' } })

test('in production staff without a second factor may only set one up, sign out and change the password', async () => {
  const admin = await house.staff('admin@example.com', 'admin')
  const call = (method: 'GET' | 'POST' | 'DELETE', url: string, body?: object) =>
    house.call(method, url, { token: admin.token, ...(body ? { body } : {}) })

  for (const [method, url] of [
    ['GET', '/api/v1/users'],
    ['GET', '/api/v1/users/me'],
    ['GET', '/api/v1/users/me/devices'],
    ['GET', '/api/v1/auth/sessions'],
    ['POST', '/api/v1/auth/2fa/disable'],
  ] as const) {
    const answer = await call(method, url, method === 'POST' ? {} : undefined)
    assert.equal(answer.statusCode, 403, url)
    assert.match(answer.body, /second factor/)
  }
  const { secret } = (await call('POST', '/auth/2fa/setup', {})).json<{ secret: string }>()
  assert.equal((await call('GET', '/api/v1/users')).statusCode, 403, 'a secret that waits is no factor')
  assert.equal((await call('POST', '/auth/2fa/enable', { code: codeAt(secret) })).statusCode, 200)
  assert.equal((await call('GET', '/api/v1/users')).statusCode, 200)
})

test('the sign-in of staff says that a factor is missing; a customer is not asked', async () => {
  await house.staff('support@example.com', 'support')
  const login = async (email: string) =>
    (await house.call('POST', '/auth/login', { body: { email, password: PASSWORD } })).json<
      LoginBody & { factor_setup_required?: boolean }
    >()
  assert.equal((await login('support@example.com')).factor_setup_required, true)
  const customer = await house.member('customer@example.com')
  assert.equal('factor_setup_required' in (await login('customer@example.com')), false)
  assert.equal((await house.call('GET', '/users/me', { token: customer.token })).statusCode, 200)
})
