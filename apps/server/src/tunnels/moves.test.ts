import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { aDevice, aServer, aUser, house, publicKey, type House } from './testing/house.ts'
import { turn } from './upkeep.ts'

type Row = { id: string; state: 'counts' | 'superseded' | 'ended'; reason: string | null }
const rows = async ({ sql }: House): Promise<Row[]> => [
  ...(await sql<Row[]>`
    select id, end_reason as reason,
           case when status = 'disconnected' then 'ended' when superseded_at is null then 'counts' else 'superseded' end as state
      from connections order by started_at`),
]
const held = async ({ sql }: House): Promise<number> => (await sql`select from leases where state = 'held'`).length

async function twoServers(t: Parameters<typeof house>[0]) {
  const h = await house(t)
  const [a, b] = [await aServer(h.sql), await aServer(h.sql)]
  await h.fleet.refresh()
  const user = await aUser(h.sql)
  const device_id = await aDevice(h.sql, user)
  const to = (server_id: string) => h.call('POST', '/vpn/connect', user, { server_id, device_id })
  return { ...h, a, b, user, device_id, to }
}

test('a move keeps the old peer until the first handshake of the new one', async (t) => {
  const h = await twoServers(t)
  const first = await h.to(h.a)
  const second = await h.to(h.b)
  assert.deepEqual([first.status, second.status], [201, 201])
  assert.deepEqual(
    (await rows(h)).map((r) => r.state),
    ['superseded', 'counts'],
  )
  assert.deepEqual(
    h.watched.map((key) => key.connectionId),
    [second.body.connection_id],
    'the new one is watched, so that its handshake is seen',
  )
  const { body } = await h.call('GET', '/vpn/status', h.user)
  assert.deepEqual(
    body.connections.map((c: { connection_id: string }) => c.connection_id),
    [second.body.connection_id],
  )
  await turn(h.deps)
  assert.equal(await held(h), 2)
  await h.sql`update connections set last_handshake_at = now() where id = ${second.body.connection_id}`
  await turn(h.deps)
  assert.deepEqual(await rows(h), [
    { id: first.body.connection_id, state: 'ended', reason: 'moved' },
    { id: second.body.connection_id, state: 'counts', reason: null },
  ])
  assert.equal(await held(h), 1)
})

test('moving on does not give an older peer more time', async (t) => {
  const h = await twoServers(t)
  const c = await aServer(h.sql)
  await h.fleet.refresh()
  const first = await h.to(h.a)
  await h.to(h.b)
  const until = async () =>
    (await h.sql`select superseded_until from connections where id = ${first.body.connection_id}`)[0]?.superseded_until
  const before = await until()
  await h.to(c)
  assert.deepEqual(await until(), before)
})

test('without a handshake the old peer goes when its time is up', async (t) => {
  const h = await twoServers(t)
  await h.to(h.a)
  await h.to(h.b)
  const [until] =
    await h.sql`select superseded_until - superseded_at = interval '30 seconds' as half_a_minute from connections where superseded_at is not null`
  assert.equal(until?.half_a_minute, true)
  await h.sql`update connections set superseded_until = now() where superseded_at is not null`
  await Promise.all([turn(h.deps), turn(h.deps)])
  assert.deepEqual(
    (await rows(h)).map((r) => r.state),
    ['ended', 'counts'],
  )
})

test('when the new one fails the old tunnel stays and counts as before', async (t) => {
  const h = await twoServers(t)
  const first = await h.to(h.a)
  h.node.mode = 'broken'
  assert.equal((await h.to(h.b)).status, 503)
  assert.deepEqual(await rows(h), [{ id: first.body.connection_id, state: 'counts', reason: null }])
  const other = await h.call('POST', '/vpn/connect', h.user, {})
  assert.equal(other.body.error.code, 'CONNECTION_LIMIT_REACHED')
})

test('going back while the old peer is still there revives it; when that fails nothing has changed', async (t) => {
  const h = await twoServers(t)
  const first = await h.to(h.a)
  const second = await h.to(h.b)
  h.node.mode = 'broken'
  assert.equal((await h.to(h.a)).status, 503)
  assert.deepEqual(
    (await rows(h)).map((r) => r.state),
    ['superseded', 'counts'],
  )
  h.node.mode = 'live'
  const back = await h.to(h.a)
  assert.equal(back.body.connection_id, first.body.connection_id)
  assert.equal(back.body.preshared_key, first.body.preshared_key)
  assert.deepEqual(
    (await rows(h)).map((r) => r.state),
    ['counts', 'superseded'],
  )
  await h.sql`update connections set last_handshake_at = now() - interval '1 hour' where id = ${first.body.connection_id}`
  await turn(h.deps)
  assert.equal((await rows(h))[1]?.state, 'superseded', 'an older handshake tells nothing')
  await h.call('POST', `/vpn/disconnect/${first.body.connection_id}`, h.user)
  assert.deepEqual(
    (await rows(h)).map((r) => r.state),
    ['ended', 'ended'],
    `what was moved from ends with it: ${second.body.connection_id}`,
  )
})

test('a device with a new key moves its tunnel on the same server to a second address', async (t) => {
  const h = await twoServers(t)
  const first = await h.to(h.a)
  const key = publicKey()
  await h.sql`insert into wireguard_keys (public_key, user_id) values (${key}, ${h.user})`
  await h.sql`update devices set public_key = ${key} where id = ${h.device_id}`
  const second = await h.to(h.a)
  assert.equal(second.status, 201)
  assert.notEqual(second.body.assigned_ip, first.body.assigned_ip)
  assert.deepEqual(
    (await rows(h)).map((r) => r.state),
    ['superseded', 'counts'],
  )
})

test('two connects of one device at once that both fail leave the tunnel from before', async (t) => {
  const h = await twoServers(t)
  const c = await aServer(h.sql)
  await h.fleet.refresh()
  const first = await h.to(h.a)
  h.node.mode = 'dead'
  const both = await Promise.all([h.to(h.b), h.to(c)])
  assert.deepEqual(
    both.map((answer) => answer.status),
    [503, 503],
  )
  assert.deepEqual(await rows(h), [{ id: first.body.connection_id, state: 'counts', reason: null }])
  assert.equal(await held(h), 1)
})

test('a claim that another connect of the same key has answered with is not taken back', async (t) => {
  const h = await twoServers(t)
  h.node.mode = 'dead'
  const slow = h.to(h.a)
  while (h.node.asked.length === 0) await sleep(5)
  h.node.mode = 'live'
  const quick = await h.to(h.a)
  assert.deepEqual([quick.status, (await slow).status], [201, 503])
  assert.deepEqual(await rows(h), [{ id: quick.body.connection_id, state: 'counts', reason: null }])
})
