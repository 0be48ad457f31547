import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import { aUser, houseWithServer, publicKey } from './testing/house.ts'

const premium = 'premium_monthly'

test('ends the only tunnel and sums it up; repeating answers the same', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  const { body: c } = await h.call('POST', '/vpn/connect', user, {})
  await h.sql`update connections set started_at = started_at - interval '3723 seconds', bytes_sent = 4000000000,
                     bytes_received = 8000000000, peak_bytes_per_second = 5500000`
  const { status, body } = await h.call('POST', '/vpn/disconnect', user, {})
  assert.equal(status, 200)
  assert.deepEqual(
    { ...body, started_at: 0, ended_at: 0 },
    {
      connection_id: c.connection_id,
      status: 'ended',
      started_at: 0,
      ended_at: 0,
      duration: '1h 2m 3s',
      duration_seconds: 3723,
      bytes_sent: 4_000_000_000,
      bytes_received: 8_000_000_000,
      total_bytes: 12_000_000_000,
      totals_final: true,
      summary: { avg_speed: '3.2 MB/s', peak_speed: '5.5 MB/s' },
    },
  )
  assert.deepEqual((await h.call('POST', '/connection/disconnect', user, {})).body, body)
  assert.deepEqual((await h.call('POST', `/vpn/disconnect/${c.connection_id}`, user)).body, body)
  await h.sql`update connections set peak_bytes_per_second = 0`
  const { summary } = (await h.call('POST', '/vpn/disconnect', user, {})).body
  assert.equal(summary.peak_speed, summary.avg_speed, 'without two reports the average is the best that is known')
})

test('which one: several need an id, none is 404, a stranger is 404, a malformed id 404 or 400', async (t) => {
  const h = await houseWithServer(t)
  const [user, other] = [await aUser(h.sql, premium), await aUser(h.sql)]
  assert.equal((await h.call('POST', '/vpn/disconnect', user, {})).status, 404)
  const { body: a } = await h.call('POST', '/vpn/connect', user, {})
  const { body: b } = await h.call('POST', '/vpn/connect', user, {})
  const several = await h.call('POST', '/vpn/disconnect', user, {})
  assert.deepEqual([several.status, several.body.error.details[0].field], [400, 'connection_id'])
  assert.equal((await h.call('POST', `/vpn/disconnect/${a.connection_id}`, other)).status, 404)
  assert.equal((await h.call('POST', '/vpn/disconnect', other, { connection_id: a.connection_id })).status, 404)
  assert.equal((await h.call('POST', '/vpn/disconnect/x', user)).status, 404)
  assert.equal((await h.call('POST', '/vpn/disconnect', user, { connection_id: 'x' })).status, 400)
  assert.equal((await h.sql`select from connections where status = 'connected'`).length, 2)
  await h.call('POST', '/vpn/disconnect', user, { connection_id: b.connection_id })
  const rest = await h.call('POST', '/vpn/disconnect', user, {})
  assert.equal(rest.body.connection_id, a.connection_id)
  const last = await h.call('POST', '/vpn/disconnect', user, {})
  assert.equal(last.body.connection_id, a.connection_id, 'the one that ended last')
})

test('a silent node gives totals that are not final; asking again later gives the final ones', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  await h.call('POST', '/vpn/connect', user, {})
  h.node.mode = 'dead'
  const early = await h.call('POST', '/vpn/disconnect', user, {})
  assert.deepEqual([early.status, early.body.totals_final], [200, false])
  h.node.mode = 'live'
  const late = await h.call('POST', '/vpn/disconnect', user, {})
  assert.equal(late.body.totals_final, true)
})

test("the app's own counts are kept beside ours, only where they differ, and the first word stands", async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  await h.call('POST', '/vpn/connect', user, {})
  await h.sql`update connections set bytes_sent = 10, bytes_received = 20`
  const { body } = await h.call('POST', '/vpn/disconnect', user, { bytes_sent: 10, bytes_received: 2 ** 52 })
  assert.deepEqual([body.bytes_sent, body.bytes_received], [10, 20])
  await h.call('POST', '/vpn/disconnect', user, { bytes_received: 7 })
  const kept = await h.sql`select client_bytes_sent as sent, client_bytes_received as received from connections`
  assert.deepEqual([...kept], [{ sent: null, received: 2n ** 52n }])
  for (const bytes_sent of [-1, 1.5, '1', 2 ** 53 + 2, null])
    assert.equal((await h.call('POST', '/vpn/disconnect', user, { bytes_sent })).status, 400)
})

test('a disconnect that comes through the tunnel itself is answered first; its peer goes half a second later', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  const { body: c } = await h.call('POST', '/vpn/connect', user, {})
  const headers = { 'x-from': `::ffff:${c.server.ip_address}` }
  const { body } = await h.call('POST', '/vpn/disconnect', user, {}, { headers })
  assert.equal(body.totals_final, false)
  const held = async () => (await h.sql`select from leases where state = 'held'`).length
  assert.equal(await held(), 1)
  const began = Date.now()
  while ((await held()) === 1) await sleep(20)
  const ms = Date.now() - began
  assert.ok(ms > 300 && ms < 3_000, String(ms))
  assert.equal((await h.sql`select from connections where leaving_at is not null`).length, 0)
})

test('connecting again with the key of a peer that is about to go gets a new tunnel, not the ended one', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  const client_public_key = publicKey()
  const { body: c } = await h.call('POST', '/vpn/connect', user, { client_public_key })
  await h.call('POST', '/vpn/disconnect', user, {}, { headers: { 'x-from': c.server.ip_address } })
  const { status, body } = await h.call('POST', '/vpn/connect', user, { client_public_key })
  assert.equal(status, 201)
  assert.notEqual(body.connection_id, c.connection_id)
  await sleep(700)
  const [row] = await h.sql`select status from connections where id = ${body.connection_id}`
  assert.equal(row?.status, 'connected')
})
