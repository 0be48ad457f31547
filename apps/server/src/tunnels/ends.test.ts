import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { defer, type Scope } from '../platform/testing/index.ts'
import { CONNECTION_EVENTS, TunnelEvent } from './events.ts'
import { aDevice, aServer, aUser, house, houseWithServer, type House } from './testing/house.ts'
import { sweep, turn, tunnelJobs } from './upkeep.ts'

const premium = 'premium_monthly'
const active = async ({ sql }: House): Promise<string[]> =>
  (await sql<{ id: string }[]>`select id from connections where status = 'connected' order by started_at`).map(
    (r) => r.id,
  )
const reasons = async ({ sql }: House) =>
  (
    await sql<
      { r: string }[]
    >`select end_reason as r from connections where status = 'disconnected' order by started_at`
  ).map((x) => x.r)

async function hearing(scope: Scope, h: House): Promise<TunnelEvent[]> {
  const heard: TunnelEvent[] = []
  await h.kv.subscribe(CONNECTION_EVENTS, (text) => void heard.push(TunnelEvent.parse(JSON.parse(text))))
  await h.tunnels.start()
  defer(scope, () => h.tunnels.stop())
  return heard
}
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 100 && !(await condition()); i++) await sleep(20)
  assert.ok(await condition())
}

test('a deactivated user has no tunnel from the same moment on, and gets none', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  await h.call('POST', '/vpn/connect', user, {})
  await h.sql.begin(async (tx) => {
    await tx`update users set is_active = false where id = ${user}`
    const [row] = await tx`select status, end_reason from connections`
    assert.deepEqual({ ...row }, { status: 'disconnected', end_reason: 'deactivated' })
  })
  assert.equal((await h.sql`select from leases where state = 'held'`).length, 0)
  const again = await h.call('POST', '/vpn/connect', user, {})
  assert.equal(again.status, 403)
})

test('a connect under way while the account is deactivated does not outlive it', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql, premium)
  const calls = Array.from({ length: 5 }, () => h.call('POST', '/vpn/connect', user, {}))
  await h.sql`update users set is_active = false where id = ${user}`
  await Promise.all(calls)
  assert.deepEqual(await active(h), [])
})

test('when a plan ends its tunnels on premium servers end, then the oldest above the limit', async (t) => {
  const h = await house(t)
  const [free, paid] = [await aServer(h.sql), await aServer(h.sql, { tier: 'premium' })]
  await h.fleet.refresh()
  const user = await aUser(h.sql, premium)
  const ids: string[] = []
  for (const server_id of [free, free, paid])
    ids.push((await h.call('POST', '/vpn/connect', user, { server_id })).body.connection_id)
  await h.sql.begin(async (tx) => {
    await tx`update subscriptions set status = 'canceled' where user_id = ${user}`
    await tx`update subscriptions set status = 'active' where user_id = ${user}`
  })
  assert.equal((await active(h)).length, 3, 'only what is committed counts')
  await h.sql`update subscriptions set status = 'canceled' where user_id = ${user}`
  assert.deepEqual(await active(h), [ids[1]])
  assert.deepEqual(await reasons(h), ['plan_ended', 'plan_ended'])
})

test('a plan that runs out by the clock, and a limit that staff lower, are found by the sweep', async (t) => {
  const h = await houseWithServer(t)
  const [a, b] = [await aUser(h.sql, premium), await aUser(h.sql, premium)]
  for (const user of [a, a, b, b]) await h.call('POST', '/vpn/connect', user, {})
  await h.owner`alter table subscriptions disable trigger subscriptions_end_tunnels`
  await h.sql`update subscriptions set end_date = now() - interval '1 second' where user_id = ${a}`
  await Promise.all([sweep(h.deps), sweep(h.deps)])
  assert.equal((await active(h)).length, 3)
  await h.sql`update plans set max_connections = 1 where id = ${premium}`
  await sweep(h.deps)
  assert.equal((await active(h)).length, 2)
})

test('a tunnel without device ends when nobody used it for a day; one of a device stays', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql, premium)
  await h.call('POST', '/vpn/connect', user, {})
  const used = await h.call('POST', '/vpn/connect', user, {})
  const device = await h.call('POST', '/vpn/connect', user, { device_id: await aDevice(h.sql, user) })
  await h.sql`update connections set started_at = started_at - interval '25 hours'`
  await h.sql`update connections set last_handshake_at = now() - interval '23 hours' where id = ${used.body.connection_id}`
  await tunnelJobs(h.deps).jobs['tunnels.idle']?.({})
  assert.deepEqual(await active(h), [used.body.connection_id, device.body.connection_id])
  assert.deepEqual(await reasons(h), ['idle'])
})

test('every end is told within a second, whoever caused it', async (t) => {
  const h = await houseWithServer(t)
  const heard = await hearing(t, h)
  const [user, gone] = [await aUser(h.sql, premium), await aUser(h.sql)]
  const device_id = await aDevice(h.sql, user)
  const a = await h.call('POST', '/vpn/connect', user, { device_id })
  const b = await h.call('POST', '/vpn/connect', user, {})
  const c = await h.call('POST', '/vpn/connect', gone, {})
  await until(() => heard.length === 3)
  assert.deepEqual(heard[0], {
    user_id: user,
    connection_id: a.body.connection_id,
    status: 'connected',
    reason: null,
    server_id: h.server,
    slot: heard[0]?.slot,
    version: 1,
  })
  heard.length = 0
  await h.sql`delete from devices where id = ${device_id}`
  await h.sql`update users set is_active = false where id = ${user}`
  await h.sql`delete from users where id = ${gone}`
  await until(() => heard.length === 3)
  const told = new Map(heard.map((event) => [event.connection_id, [event.status, event.reason]]))
  assert.deepEqual(told.get(a.body.connection_id), ['disconnected', 'device_removed'])
  assert.deepEqual(told.get(b.body.connection_id), ['disconnected', 'deactivated'])
  assert.deepEqual(told.get(c.body.connection_id), ['disconnected', 'account_removed'])
})

test('a listener that lost its connection tells the ends it has missed, each once', async (t) => {
  const h = await houseWithServer(t)
  const heard = await hearing(t, h)
  const user = await aUser(h.sql, premium)
  const { body } = await h.call('POST', '/vpn/connect', user, {})
  const cut = async () => h.owner`
    select pg_terminate_backend(pid) from pg_stat_activity
     where query ilike 'listen%' and datname = current_database()`
  await h.owner.begin(async () => {
    await cut()
    await h.sql`select end_connections(${[body.connection_id]}::uuid[], 'user')`
  })
  await until(() => heard.some((event) => event.status === 'disconnected'))
  await sleep(100)
  assert.equal(heard.filter((event) => event.status === 'disconnected').length, 1)
})

test('a deletion that comes through the tunnel itself lets its peer stay half a second', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  const device_id = await aDevice(h.sql, user)
  const { body } = await h.call('POST', '/vpn/connect', user, { device_id })
  assert.equal(await h.tunnels.carriesDevice(device_id, body.server.ip_address), true)
  assert.equal(await h.tunnels.carriesDevice(device_id, '203.0.113.9'), false)
  await h.sql.begin(async (tx) => {
    await tx`set local prime.linger_ms = 500`
    await tx`delete from devices where id = ${device_id}`
  })
  assert.equal((await h.sql`select from leases where state = 'held'`).length, 1)
  await h.sql`update connections set leaving_at = now()`
  await turn(h.deps)
  assert.equal((await h.sql`select from leases where state = 'held'`).length, 0)
})

test('ended tunnels are told as removed on N of N nodes', async (t) => {
  const h = await house(t)
  const servers = [await aServer(h.sql), await aServer(h.sql)]
  await h.fleet.refresh()
  const user = await aUser(h.sql, premium)
  for (const server_id of [...servers, ...servers]) await h.call('POST', '/vpn/connect', user, { server_id })
  const ids = await active(h)
  const ended = await h.tunnels.end(ids, 'admin')
  assert.equal(ended.length, 4)
  assert.deepEqual(await h.tunnels.whenGone(ended, 1000), { removed: 2, of: 2 })
  assert.deepEqual(await h.tunnels.end(ids, 'admin'), [])
})

test('staff see connections without addresses of customers and may end one; users may not', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  const { body: c } = await h.call('POST', '/vpn/connect', user, {})
  const staff = await aUser(h.sql)
  const { body: list } = await h.call('GET', `/admin/connections?user_id=${user}&status=active`, staff, undefined, {
    role: 'support',
  })
  assert.deepEqual([list.meta.total, list.data[0].connection_id, list.data[0].status], [1, c.connection_id, 'active'])
  const kicked = await h.call('POST', `/admin/connections/${c.connection_id}/disconnect`, staff, {}, { role: 'admin' })
  assert.deepEqual(kicked.body, { connection_id: c.connection_id, status: 'ended', removed: 1, of: 1 })
  const [entry] = await h.sql`select actor_id, action, subject_id from audit_log`
  assert.deepEqual({ ...entry }, { actor_id: staff, action: 'connection.ended', subject_id: c.connection_id })
})
