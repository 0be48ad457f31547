import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openHouse, openTwoInstances, type House, type LoginBody } from './testing/house.ts'

const OWN = 'an own long passphrase'
const later = () => new Date(Date.now() + 3_600_000)

async function oneTime(house: House, startedAt?: Date): Promise<{ email: string; password: string }> {
  const made = await house.auth.ensureFirstAdmin(startedAt)
  if (made.outcome !== 'one-time') return assert.fail(`unexpected ${made.outcome}`)
  return made
}
const admins = (house: House) => house.database.sql`select id from users where role = 'super_admin'`

test('without a password of their own the first admin gets one that only allows to choose another', async (t) => {
  const house = await openHouse(t)
  const { email, password } = await oneTime(house)
  assert.equal(email, 'admin@localhost')
  assert.ok(password.length >= 24)
  const signedIn = await house.login(email, password)
  const body = signedIn.json<LoginBody>()
  assert.equal(body.password_change_required, true)
  assert.equal(body.user.role, 'super_admin')

  const token = body.access_token
  for (const [method, url] of [
    ['GET', '/users/me'],
    ['GET', '/users'],
    ['GET', '/auth/sessions'],
    ['PUT', '/users/me'],
    ['POST', '/users/me/devices'],
  ] as const)
    assert.equal((await house.call(method, url, { token })).statusCode, 403, url)
  const again = (
    await house.call('POST', '/auth/refresh', { body: { refresh_token: body.refresh_token } })
  ).json<LoginBody>()
  assert.equal((await house.call('GET', '/users/me', { token: again.access_token })).statusCode, 403)

  const change = (new_password: string) =>
    house.call('PATCH', '/users/me/password', { token, body: { current_password: password, new_password } })
  assert.equal((await change('too short 14 c')).statusCode, 400)
  const same = await change(password)
  assert.equal(same.statusCode, 400, 'to keep the one we made is no change')
  assert.match(same.body, /must differ/)
  assert.equal((await change(OWN)).statusCode, 200)
  assert.equal((await house.call('GET', '/users', { token })).statusCode, 200)
  assert.equal((await house.login(email, password)).statusCode, 401)
  assert.equal((await house.login(email, OWN)).json<LoginBody>().password_change_required, undefined)
  assert.deepEqual(await house.auth.ensureFirstAdmin(later()), { outcome: 'present' })
})

test('a one-time password ends after a day, and a later start that finds it unchanged makes a new one', async (t) => {
  const house = await openHouse(t)
  const first = await oneTime(house)
  await house.database.sql`update one_time_passwords set expires_at = clock_timestamp()`
  assert.equal((await house.login(first.email, first.password)).statusCode, 401)
  const second = await oneTime(house, later())
  assert.notEqual(second.password, first.password)
  assert.equal((await house.login(first.email, first.password)).statusCode, 401)
  assert.equal((await house.login(second.email, second.password)).statusCode, 200)
  assert.equal((await admins(house)).length, 1)
})

test('of instances that start together one makes the admin, and the shown password works', async (t) => {
  const [here, there] = await openTwoInstances(t)
  const startedAt = new Date()
  const made = await Promise.all([here, there, here, there].map((house) => house.auth.ensureFirstAdmin(startedAt)))
  const shown = made.filter((one) => one.outcome === 'one-time')
  assert.equal(shown.length, 1)
  assert.equal(made.filter((one) => one.outcome === 'told-elsewhere').length, 3)
  assert.equal((await admins(here)).length, 1)
  assert.equal((await here.login('admin@localhost', shown[0]?.password)).statusCode, 200)
})

test('ADMIN_EMAIL and ADMIN_PASSWORD make the admin once and never change an account', async (t) => {
  const env = { ADMIN_EMAIL: 'root@example.com', ADMIN_PASSWORD: OWN }
  const house = await openHouse(t, { env })
  assert.deepEqual(await house.auth.ensureFirstAdmin(), { outcome: 'made', email: 'root@example.com' })
  assert.equal((await house.login('root@example.com', OWN)).json<LoginBody>().password_change_required, undefined)
  const next = await openHouse(t, { env: { ...env, ADMIN_PASSWORD: 'another long passphrase' }, beside: house })
  assert.deepEqual(await next.auth.ensureFirstAdmin(later()), { outcome: 'present' })
  assert.equal((await next.login('root@example.com', 'another long passphrase')).statusCode, 401)
})

test('a plain account does not become admin because a setting names its address', async (t) => {
  const house = await openHouse(t, { env: { ADMIN_EMAIL: 'early@example.com' } })
  await house.register('early@example.com')
  assert.deepEqual(await house.auth.ensureFirstAdmin(), { outcome: 'email-taken', email: 'early@example.com' })
  assert.equal((await admins(house)).length, 0)
})
