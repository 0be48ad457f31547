import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { openHouse, PASSWORD, PUBLIC_URL } from './testing/house.ts'
import { PasskeyDevice } from './testing/passkey-device.ts'

const house = await openHouse({ after })
const post = (url: string, body: object, token?: string, headers = {}) =>
  house.call('POST', `/api/v1${url}`, { body, headers, ...(token ? { token } : {}) })
const me = (token: string) => house.call('GET', '/api/v1/users/me', { token })

/** Somebody with every credential there is. */
async function armed(email: string) {
  const member = await house.member(email)
  const device = new PasskeyDevice()
  const options = await post('/auth/passkeys/register/options', {}, member.token)
  const credential = device.create(options.json(), { origin: PUBLIC_URL })
  assert.equal((await post('/auth/passkeys/register/verify', { credential }, member.token)).statusCode, 201)
  const wish = { name: 'x', scopes: ['vpn'], expires_at: new Date(Date.now() + 86_400_000).toISOString() }
  const apiToken = (await post('/users/me/api-tokens', wish, member.token)).json<{ token: string }>().token
  const signedIn = await post('/auth/login?session=cookie', { email, password: PASSWORD }, undefined, {
    origin: PUBLIC_URL,
  })
  const cookie = String(signedIn.headers['set-cookie']).split(';')[0] ?? ''

  /** What each credential answers now. */
  async function tryAll(): Promise<Record<string, number>> {
    const asked = (await post('/auth/passkeys/login/options', {})).json<{ challenge: string; rpId: string }>()
    const answers = {
      password: await house.login(email),
      'access token': await me(member.token),
      'API token': await me(apiToken),
      cookie: await house.call('GET', '/api/v1/users/me', { headers: { cookie } }),
      passkey: await post('/auth/passkeys/login/verify', { credential: device.get(asked, { origin: PUBLIC_URL }) }),
      'refresh token': await post('/auth/refresh', { refresh_token: member.refresh }),
    }
    return Object.fromEntries(Object.entries(answers).map(([way, { statusCode }]) => [way, statusCode]))
  }
  return { member, tryAll }
}

test('a disabled account gets in by no way, and by none that was open before once it is on again', async () => {
  const { member, tryAll } = await armed('ways@example.com')
  for (const [way, status] of Object.entries(await tryAll())) assert.equal(status, 200, way)
  const admin = await house.staff('admin@example.com', 'admin')
  const put = (is_active: boolean) =>
    house.call('PUT', `/api/v1/users/${member.id}/status`, { token: admin.token, body: { is_active, reason: 'test' } })
  await put(false)
  for (const [way, status] of Object.entries(await tryAll())) assert.equal(status, 401, way)
  await put(true)
  const again = await tryAll()
  for (const way of ['access token', 'API token', 'cookie', 'refresh token']) assert.equal(again[way], 401, way)
  for (const way of ['password', 'passkey']) assert.equal(again[way], 200, way)
})

test('no way in is taken for another: a credential works only where its kind is asked for', async () => {
  const { member } = await armed('kinds@example.com')
  const signedIn = await post('/auth/login?session=cookie', { email: member.email, password: PASSWORD }, undefined, {
    origin: PUBLIC_URL,
  })
  const value = /prime_session=([^;]+)/.exec(String(signedIn.headers['set-cookie']))?.[1] ?? ''
  for (const token of [member.refresh, value]) assert.equal((await me(token)).statusCode, 401)
  for (const refresh_token of [member.token, value])
    assert.equal((await post('/auth/refresh', { refresh_token })).statusCode, 401)
  for (const cookie of [member.token, member.refresh])
    assert.equal(
      (await house.call('GET', '/users/me', { headers: { cookie: `prime_session=${cookie}` } })).statusCode,
      401,
    )
})
