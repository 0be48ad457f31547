import assert from 'node:assert/strict'
import { test } from 'node:test'
import { aDevice, aServer, aUser, house, houseWithServer, publicKey, type House } from './testing/house.ts'
import { turn } from './upkeep.ts'

type Row = { key: string; state: 'counts' | 'superseded' | 'ended'; reason: string | null }
const rows = async ({ sql }: House): Promise<Row[]> => [
  ...(await sql<Row[]>`
    select client_public_key as key, end_reason as reason,
           case when status = 'disconnected' then 'ended' when superseded_at is null then 'counts' else 'superseded' end as state
      from connections order by started_at`),
]
const leases = async ({ sql }: House): Promise<string[]> =>
  (await sql<{ public_key: string }[]>`select public_key from leases where state = 'held' order by slot`).map(
    (row) => row.public_key,
  )

async function connected(h: House) {
  const user = await aUser(h.sql)
  const old = publicKey()
  const device = await aDevice(h.sql, user, old)
  const tunnel = await h.call('POST', '/vpn/connect', user, { device_id: device })
  assert.equal(tunnel.status, 201)
  const rotate = (key: string, as = user) => h.call('PUT', `/users/me/devices/${device}/key`, as, { public_key: key })
  return { user, old, device, tunnel: tunnel.body, rotate }
}
const shake = (h: House, key: string) =>
  h.sql`update connections set last_handshake_at = now() where client_public_key = ${key}`

test('without a tunnel a device just has another key, and the old one is free', async (t) => {
  const h = await house(t)
  const user = await aUser(h.sql)
  const [old, next] = [publicKey(), publicKey()]
  const device = await aDevice(h.sql, user, old)
  const { status, body } = await h.call('PUT', `/users/me/devices/${device}/key`, user, { public_key: next })
  assert.deepEqual([status, body.public_key, body.connection], [200, next, undefined])
  const days = (Date.parse(body.next_rotation_at) - Date.now()) / 86_400_000
  assert.ok(days > 6.9 && days <= 7, `${days}`)
  const keys = await h.sql`select public_key from wireguard_keys`
  assert.deepEqual([...keys], [{ public_key: next }])
})

test('with a tunnel the new key gets a second lease that does not count; the old peer ends at its first handshake', async (t) => {
  const h = await houseWithServer(t)
  const { user, old, device, tunnel, rotate } = await connected(h)
  const next = publicKey()
  const { status, body } = await rotate(next)
  assert.equal(status, 200)
  assert.notEqual(body.connection.assigned_ip, tunnel.assigned_ip)
  assert.notEqual(body.connection.preshared_key, tunnel.preshared_key)
  assert.equal(body.ip_address, body.connection.assigned_ip)
  assert.match(body.connection.wg_config, /# PrivateKey = \(the key on your device\)/)
  assert.deepEqual(await leases(h), [old, next])
  assert.deepEqual(await rows(h), [
    { key: old, state: 'superseded', reason: null },
    { key: next, state: 'counts', reason: null },
  ])
  const [span] =
    await h.sql`select superseded_until - superseded_at = interval '10 minutes' as ten from connections where superseded_at is not null`
  assert.equal(span?.ten, true)
  await turn(h.deps)
  assert.equal((await leases(h)).length, 2)
  await shake(h, next)
  await turn(h.deps)
  assert.deepEqual(await leases(h), [next])
  assert.deepEqual((await rows(h))[0], { key: old, state: 'ended', reason: 'key_rotated' })
  const again = await h.call('POST', '/vpn/connect', user, { device_id: device })
  assert.equal(again.body.connection_id, body.connection.connection_id)
})

test('after ten minutes the old peer ends, whether the new key was used or not', async (t) => {
  const h = await houseWithServer(t)
  const { rotate } = await connected(h)
  const next = publicKey()
  await rotate(next)
  await h.sql`update connections set superseded_until = now() where superseded_at is not null`
  await turn(h.deps)
  assert.deepEqual(await leases(h), [next])
})

test('a second rotation meanwhile replaces the waiting key in its lease, and the old key keeps its time', async (t) => {
  const h = await houseWithServer(t)
  const { old, rotate } = await connected(h)
  const [second, third] = [publicKey(), publicKey()]
  const waiting = await rotate(second)
  const until = async () =>
    (await h.sql`select superseded_until from connections where client_public_key = ${old}`)[0]?.superseded_until
  const before = await until()
  const { status, body } = await rotate(third)
  assert.equal(status, 200)
  assert.equal(body.connection.assigned_ip, waiting.body.connection.assigned_ip)
  assert.notEqual(body.connection.preshared_key, waiting.body.connection.preshared_key)
  assert.deepEqual(await leases(h), [old, third])
  assert.deepEqual(await until(), before)
  await shake(h, third)
  await turn(h.deps)
  assert.deepEqual(await leases(h), [third])
})

test('without room the lease passes to the new key at once', async (t) => {
  const h = await house(t)
  await aServer(h.sql, { max: 1 })
  await h.fleet.refresh()
  const { old, tunnel, rotate } = await connected(h)
  const next = publicKey()
  const { status, body } = await rotate(next)
  assert.equal(status, 200)
  assert.equal(body.connection.assigned_ip, tunnel.assigned_ip)
  assert.equal(body.connection.connection_id, tunnel.connection_id)
  assert.deepEqual(await leases(h), [next])
  assert.deepEqual(
    (await rows(h)).map((row) => row.key),
    [next],
  )
  assert.notEqual(old, next)
})

test('when the node does not confirm everything is as before, with room and without', async (t) => {
  for (const max of [250, 1]) {
    const h = await house(t)
    await aServer(h.sql, { max })
    await h.fleet.refresh()
    const { user, old, device, rotate } = await connected(h)
    const before = await h.sql`select public_key, preshared_key from leases where state = 'held'`
    h.node.mode = 'broken'
    assert.equal((await rotate(publicKey())).status, 503)
    assert.deepEqual([...(await h.sql`select public_key, preshared_key from leases where state = 'held'`)], [...before])
    assert.deepEqual(await rows(h), [{ key: old, state: 'counts', reason: null }])
    h.node.mode = 'live'
    const { body } = await h.call('POST', '/vpn/connect', user, { device_id: device })
    assert.equal(body.connection_id !== undefined, true)
  }
})

test('the present key again changes nothing and answers the same tunnel', async (t) => {
  const h = await houseWithServer(t)
  const { rotate } = await connected(h)
  const next = publicKey()
  const first = await rotate(next)
  const again = await rotate(next)
  assert.deepEqual(again.body, first.body)
  assert.equal((await leases(h)).length, 2)
})

test('a key that others, another device, or the old peer of this one have is 409; a foreign device 404', async (t) => {
  const h = await houseWithServer(t)
  const { user, old, rotate } = await connected(h)
  const stranger = await aUser(h.sql)
  const [foreign, own] = [publicKey(), publicKey()]
  await aDevice(h.sql, stranger, foreign)
  await aDevice(h.sql, user, own)
  assert.equal((await rotate(foreign)).status, 409)
  assert.equal((await rotate(own)).status, 409)
  await rotate(publicKey())
  assert.equal((await rotate(old)).status, 409)
  assert.equal((await rotate(publicKey(), stranger)).status, 404)
  assert.equal((await rotate('AAAA')).status, 400)
})

test('of many rotations at once the device ends up with one key, at most two leases, and one that counts', async (t) => {
  const h = await houseWithServer(t)
  const { device, rotate } = await connected(h)
  const answers = await Promise.all(Array.from({ length: 12 }, () => rotate(publicKey())))
  assert.ok(
    answers.every(({ status }) => status === 200 || status === 409),
    answers.map((a) => a.status).join(),
  )
  assert.ok(answers.some(({ status }) => status === 200))
  const [now] = await h.sql<{ public_key: string }[]>`select public_key from devices where id = ${device}`
  const held = await leases(h)
  assert.equal(held.length, 2)
  assert.ok(held.includes(now?.public_key ?? ''))
  assert.equal((await rows(h)).filter((row) => row.state === 'counts').length, 1)
})

test('removing the device in the overlap ends both peers', async (t) => {
  const h = await houseWithServer(t)
  const { device, rotate } = await connected(h)
  await rotate(publicKey())
  await h.sql`delete from devices where id = ${device}`
  assert.deepEqual(await leases(h), [])
})
