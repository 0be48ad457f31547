import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { openHouse } from '../auth/testing/house.ts'
import { newId } from '../platform/ids.ts'

const house = await openHouse({ after })
const { sql } = house.database

type Subscription = {
  plan: string
  plan_type: string
  status: string
  end_date: string | null
  expiry_date: string | null
  auto_renew: boolean
}
const subscription = async (token: string) =>
  (await house.call('GET', '/users/me', { token })).json<{ subscription: Subscription }>().subscription

const give = (userId: string, status: string, end: string, grace: string | null = null) =>
  sql`insert into subscriptions (id, user_id, plan_id, plan_type, status, end_date, grace_until)
      values (${newId()}, ${userId}, 'premium_yearly', 'yearly', ${status}, clock_timestamp() + ${end}::interval,
              clock_timestamp() + ${grace}::interval)`

test('the subscription shown is the one that counts: live, in its grace, else the free plan', async () => {
  const cases = [
    ['active', '30 days', null, 'premium_yearly', 'active'],
    ['past_due', '-1 day', '2 days', 'premium_yearly', 'past_due'],
    ['past_due', '-4 days', '-1 day', 'free', 'active'],
    ['active', '-1 second', null, 'free', 'active'],
    ['canceled', '30 days', null, 'free', 'active'],
  ] as const
  for (const [n, [status, end, grace, plan, shown]] of cases.entries()) {
    const ada = await house.member(`case${n}@example.com`)
    await give(ada.id, status, end, grace)
    const seen = await subscription(ada.token)
    assert.deepEqual([seen.plan, seen.status], [plan, shown], `${status} ${end}`)
    assert.equal(seen.expiry_date, seen.end_date)
    assert.equal(seen.end_date === null, plan === 'free')
    const { user } = (await house.login(`case${n}@example.com`)).json<{
      user: { subscription_status: string; subscription_expiry: string | null }
    }>()
    assert.deepEqual([user.subscription_status, user.subscription_expiry], [shown, seen.end_date])
    const principal = await house.auth.authenticateToken(ada.token)
    assert.equal(principal.entitlement.planId, plan)
    assert.equal(principal.entitlement.maxDevices, plan === 'free' ? 1 : 5)
  }
})

test('nobody writes what is not theirs to write', async () => {
  const ada = await house.member('fields@example.com')
  const before = (await house.call('GET', '/users/me', { token: ada.token })).json()
  for (const body of [
    { role: 'admin' },
    { is_superuser: true },
    { is_verified: true },
    { is_active: false },
    { id: newId() },
    { plan: 'premium_yearly' },
    { permissions: ['users:read'] },
    { max_devices: 99 },
    { subscription: { plan: 'premium_yearly' } },
    { full_name: 'x', role: 'admin' },
    { constructor: { prototype: { role: 'admin' } } },
    { full_name: ['x'] },
    { full_name: 'a\u202eb' },
    { email: 'x@example.com' },
  ])
    assert.equal(
      (await house.call('PUT', '/users/me', { token: ada.token, body })).statusCode,
      400,
      JSON.stringify(body),
    )
  const proto = await house.call('PUT', '/users/me', {
    token: ada.token,
    body: '{"__proto__":{"role":"admin"}}',
    headers: { 'content-type': 'application/json' },
  })
  assert.equal(proto.statusCode, 400)
  assert.deepEqual((await house.call('GET', '/users/me', { token: ada.token })).json(), before)
})

test('a name is set and taken away', async () => {
  const ada = await house.member('name@example.com')
  const put = async (full_name: string | null) =>
    (await house.call('PUT', '/users/me', { token: ada.token, body: { full_name } })).json<{
      full_name: string | null
    }>().full_name
  assert.equal(await put('<b>Ada</b> O’Brien 愛'), '<b>Ada</b> O’Brien 愛')
  assert.equal(await put(null), null)
})

test('an account that is erased and registered again has nothing of the old one', async () => {
  const ada = await house.member('again@example.com')
  await house.call('POST', '/users/me/devices', { token: ada.token, body: { name: 'x', platform: 'y' } })
  await sql`delete from users where id = ${ada.id}`
  const next = await house.member('again@example.com')
  assert.notEqual(next.id, ada.id)
  assert.equal((await house.call('GET', '/users/me', { token: ada.token })).statusCode, 401)
  assert.deepEqual(
    (await house.call('GET', '/users/me', { token: next.token })).json<{ devices: unknown[] }>().devices,
    [],
  )
})
