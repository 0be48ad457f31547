import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { generateKeyPair } from '@prime-vpn/wireguard'
import { endAccess } from '../accounts/index.ts'
import { openHouse, type Member } from '../auth/testing/house.ts'
import { whileLocked } from '../auth/testing/while-locked.ts'
import { newId } from '../platform/ids.ts'

const house = await openHouse({ after })
const { sql } = house.database

type DeviceBody = { id: string; name: string; platform: string; public_key: string | null }
const key = () => generateKeyPair().publicKey
const add = (who: Member, body: object, headers?: Record<string, string>) =>
  house.call('POST', '/users/me/devices', {
    token: who.token,
    body: { name: 'Laptop', platform: 'linux', ...body },
    ...(headers ? { headers } : {}),
  })
const list = async (who: Member) =>
  (await house.call('GET', '/users/me/devices', { token: who.token })).json<{
    data: DeviceBody[]
    meta: { total: number }
  }>()
const remove = async (who: Member, id: string) =>
  (await house.call('DELETE', `/users/me/devices/${id}`, { token: who.token })).statusCode

/** A member whose plan has room for five. */
async function premium(email: string): Promise<Member> {
  const who = await house.member(email)
  await sql`insert into subscriptions (id, user_id, plan_id, plan_type, status, end_date)
            values (${newId()}, ${who.id}, 'premium_monthly', 'monthly', 'active', now() + interval '30 days')`
  return who
}

test('a device is added with and without a key, listed, shown on the account, and removed', async () => {
  const ada = await premium('ada@example.com')
  const publicKey = key()
  const made = await add(ada, { public_key: publicKey })
  assert.equal(made.statusCode, 201)
  const device = made.json<DeviceBody>()
  assert.deepEqual(
    { ...device, id: '' },
    {
      id: '',
      name: 'Laptop',
      platform: 'linux',
      public_key: publicKey,
      last_connected: null,
      ip_address: null,
    },
  )
  const bare = (await add(ada, { name: 'Télé 📺', platform: 'android-tv' })).json<DeviceBody>()
  assert.equal(bare.public_key, null)
  assert.deepEqual((await list(ada)).data, [device, bare])
  const me = await house.call('GET', '/users/me', { token: ada.token })
  assert.deepEqual(me.json<{ devices: unknown }>().devices, [device, bare])
  assert.equal(me.json<{ subscription: { plan: string } }>().subscription.plan, 'premium_monthly')
  assert.equal(await remove(ada, device.id), 204)
  assert.equal(await remove(ada, device.id), 404)
  assert.deepEqual((await list(ada)).data, [bare])
})

test('of fifty who race for the slots of a plan as many get one as it has, and each its own', async () => {
  const ada = await premium('race@example.com')
  const answers = await Promise.all(Array.from({ length: 50 }, () => add(ada, { public_key: key() })))
  assert.equal(answers.filter(({ statusCode }) => statusCode === 201).length, 5)
  const refused = answers.filter(({ statusCode }) => statusCode === 403)
  assert.equal(refused.length, 45)
  assert.equal(refused[0]?.json<{ error: { code: string } }>().error.code, 'DEVICE_LIMIT_REACHED')
  const rows = await sql<{ slot: number }[]>`select slot from devices where user_id = ${ada.id} order by slot`
  assert.deepEqual(
    rows.map(({ slot }) => slot),
    [0, 1, 2, 3, 4],
  )
  const keys = await sql`select from wireguard_keys where user_id = ${ada.id}`
  assert.equal(keys.count, 5, 'refused devices leave no key behind')
})

test('after a plan shrank existing devices stay, and a new one fits only below the new limit', async () => {
  const ada = await premium('shrink@example.com')
  const ids: string[] = []
  for (let n = 0; n < 3; n++) ids.push((await add(ada, {})).json<DeviceBody>().id)
  await sql`update subscriptions set status = 'canceled' where user_id = ${ada.id}`
  assert.equal((await add(ada, {})).statusCode, 403)
  await remove(ada, ids[0] ?? '')
  await remove(ada, ids[1] ?? '')
  assert.equal((await add(ada, {})).statusCode, 403)
  await remove(ada, ids[2] ?? '')
  assert.equal((await add(ada, {})).statusCode, 201)
})

test('a key serves one device: another of the same user or of anybody else is 409, and the answers do not differ', async () => {
  const [ada, bob] = [await premium('one@example.com'), await premium('two@example.com')]
  const publicKey = key()
  assert.equal((await add(ada, { public_key: publicKey })).statusCode, 201)
  const [own, foreign] = [await add(ada, { public_key: publicKey }), await add(bob, { public_key: publicKey })]
  const told = (answer: typeof own) => [answer.statusCode, answer.json<{ error: { message: string } }>().error.message]
  assert.deepEqual(told(own), [409, 'This public key is already in use.'])
  assert.deepEqual(told(foreign), told(own))
  assert.equal((await list(bob)).meta.total, 0)
})

test('of many users who race for one key one gets it', async () => {
  const members = await Promise.all(Array.from({ length: 6 }, (_, n) => premium(`key${n}@example.com`)))
  const publicKey = key()
  const answers = await Promise.all([...members, ...members].map((who) => add(who, { public_key: publicKey })))
  assert.equal(answers.filter(({ statusCode }) => statusCode === 201).length, 1)
  assert.equal(answers.filter(({ statusCode }) => statusCode === 409).length, 11)
})

test('the key of a removed device is free again, for its user and for others', async () => {
  const [ada, bob] = [await premium('free@example.com'), await premium('next@example.com')]
  const publicKey = key()
  for (let round = 0; round < 2; round++) {
    const { id } = (await add(ada, { public_key: publicKey })).json<DeviceBody>()
    assert.equal(await remove(ada, id), 204)
  }
  assert.equal((await add(bob, { public_key: publicKey })).statusCode, 201)
})

test('only canonical 32-byte Curve25519 keys are taken', async () => {
  const ada = await premium('canon@example.com')
  const good = key()
  const point = (hex: string) => Buffer.from(hex, 'hex').toString('base64')
  for (const publicKey of [
    '',
    'short',
    good.slice(0, -1),
    ` ${good}`,
    `${good}\n`,
    good.replaceAll('+', '-').replace('=', ''),
    Buffer.alloc(31, 9).toString('base64'),
    Buffer.alloc(33, 9).toString('base64'),
    point('00'.repeat(32)),
    point(`01${'00'.repeat(31)}`),
    point(`ed${'ff'.repeat(30)}7f`),
    point(`ee${'ff'.repeat(30)}7f`),
    point('ff'.repeat(32)),
    point('e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'),
    [good],
    null,
    5,
  ])
    assert.equal((await add(ada, { public_key: publicKey })).statusCode, 400, JSON.stringify(publicKey))
  assert.equal((await list(ada)).meta.total, 0)
})

test('names that would do something elsewhere are refused, and unknown fields too', async () => {
  const ada = await premium('names@example.com')
  for (const name of [
    '',
    ' ',
    'a\nPostUp = id',
    'a\rb',
    'a\u2028b',
    'a\u202eb',
    'a\0b',
    'a\u0085b',
    'x'.repeat(101),
    5,
    ['x'],
    null,
  ])
    assert.equal((await add(ada, { name })).statusCode, 400, JSON.stringify(name))
  for (const extra of [{ user_id: newId() }, { slot: 0 }, { id: newId() }, { ip_address: '10.0.0.1' }])
    assert.equal((await add(ada, extra)).statusCode, 400, JSON.stringify(extra))
  assert.equal((await add(ada, { name: '"; filename=x.exe # [Peer]' })).statusCode, 201)
})

test('somebody else’s device does not exist', async () => {
  const [ada, bob] = [await premium('mine@example.com'), await premium('theirs@example.com')]
  const { id } = (await add(ada, {})).json<DeviceBody>()
  assert.equal(await remove(bob, id), 404)
  assert.equal(await remove(bob, 'nonsense'), 404)
  assert.equal((await list(ada)).meta.total, 1)
})

test('a repeated request with its Idempotency-Key makes one device', async () => {
  const ada = await premium('twice@example.com')
  const headers = { 'idempotency-key': 'a-key-of-16-chars-or-more' }
  const answers = await Promise.all([add(ada, {}, headers), add(ada, {}, headers), add(ada, {}, headers)])
  assert.deepEqual(new Set(answers.map(({ statusCode }) => statusCode)), new Set([201]))
  assert.equal(new Set(answers.map((answer) => answer.json<DeviceBody>().id)).size, 1)
  assert.equal((await list(ada)).meta.total, 1)
})

test('removing a device ends its tunnel with the same commit; until then its address is shown', async () => {
  const ada = await premium('tunnel@example.com')
  const publicKey = key()
  const { id } = (await add(ada, { public_key: publicKey })).json<DeviceBody>()
  const server = newId()
  await sql`insert into vpn_servers (id, hostname, country, country_code, city, location, ip_address, endpoint, public_key, status, subnet_v4, subnet_v6)
            values (${server}, 'de1.example', 'Germany', 'DE', 'Berlin', 'Berlin', '192.0.2.1', '192.0.2.1:51820', ${key()}, 'active', '10.77.0.0/24', 'fd00:1::/64')`
  await sql`select create_leases(${server})`
  const rows = await sql<{ outcome: string; address: string }[]>`
    select outcome, host(address) as address
      from connect_tunnel(${newId()}, ${ada.id}, ${id}, ${publicKey}, false, ${Buffer.alloc(32, 7)}, ${[server]}, interval '0', interval '30 s')`
  assert.equal(rows[0]?.outcome, 'connected')
  const [shown] = (await list(ada)).data as (DeviceBody & { ip_address: string; last_connected: string })[]
  assert.equal(shown?.ip_address, rows[0]?.address)
  assert.ok(shown?.last_connected)
  assert.equal(await remove(ada, id), 204)
  const live = await sql`select from connections where user_id = ${ada.id} and status = 'connected'`
  assert.equal(live.count, 0)
  const keys = await sql`select from wireguard_keys where user_id = ${ada.id}`
  assert.equal(keys.count, 0)
})

test('switching off an account while it adds devices ends in order: nobody waits for ever, nothing is left', async () => {
  const chief = await house.staff('chief@example.com', 'admin')
  for (let round = 0; round < 5; round++) {
    const ada = await premium(`busy${round}@example.com`)
    const answers = await Promise.all([
      ...Array.from({ length: 6 }, () => add(ada, { public_key: key() })),
      house.call('PUT', `/users/${ada.id}/status`, { token: chief.token, body: { is_active: false, reason: 'test' } }),
    ])
    assert.ok(answers.every(({ statusCode }) => [200, 201, 401, 403].includes(statusCode)))
  }
})

test('a device that is added while the first proof of the address ends its session does not stay', async () => {
  for (const by of ['session', 'API token'] as const) {
    const member = await house.member(`overlap.${by.replace(' ', '')}@example.com`)
    const wish = { name: 'x', scopes: ['vpn'], expires_at: new Date(Date.now() + 86_400_000).toISOString() }
    const made = await house.call('POST', '/users/me/api-tokens', { token: member.token, body: wish })
    const token = by === 'session' ? member.token : made.json<{ token: string }>().token
    const add = () => house.call('POST', '/users/me/devices', { token, body: { name: 'Phone', platform: 'ios' } })
    const [answer] = await whileLocked(
      house,
      member.id,
      (tx) => endAccess(tx, house.ends, member.id, 'first_verified'),
      add,
    )
    assert.equal(answer?.statusCode, 401, by)
    assert.equal((await sql`select from devices where user_id = ${member.id}`).length, 0, by)
  }
})
