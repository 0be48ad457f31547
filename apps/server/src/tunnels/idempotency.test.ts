import assert from 'node:assert/strict'
import { test } from 'node:test'
import { aUser, houseWithServer } from './testing/house.ts'

const headers = { 'idempotency-key': 'a-key-of-more-than-16' }

test('a repeat gets the same tunnel and the same private key, which lies readable nowhere', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  const first = await h.call('POST', '/vpn/connect', user, {}, { headers })
  const second = await h.call('POST', '/vpn/connect', user, {}, { headers })
  assert.deepEqual([first.status, second.status], [201, 201])
  assert.deepEqual(second.body, first.body)
  assert.equal(second.headers['idempotent-replayed'], 'true')
  const byItsOtherName = await h.call('POST', '/connection/connect', user, {}, { headers })
  assert.deepEqual(byItsOtherName.body, first.body)
  assert.equal((await h.sql`select from connections`).length, 1)
  const marks = await h.sql<{ text: string }[]>`select encode(answer, 'escape') as text from idempotency_marks`
  assert.ok(!marks[0]?.text.includes('PrivateKey'))
})

test('twins at once make one tunnel', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql, 'premium_monthly')
  const twins = await Promise.all([1, 2, 3].map(() => h.call('POST', '/vpn/connect', user, {}, { headers })))
  assert.equal(new Set(twins.map((twin) => twin.body.connection_id)).size, 1)
  assert.equal((await h.sql`select from connections`).length, 1)
})

test('a claim whose instance died unanswered is undone by the repeat: one tunnel, with a key that is known', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  const lost = await h.call('POST', '/vpn/connect', user, {}, { headers })
  await h.sql`update idempotency_marks set status = null, answer = null, claimed_at = now() - interval '31 seconds'`
  const { status, body } = await h.call('POST', '/vpn/connect', user, {}, { headers })
  assert.equal(status, 201)
  assert.notEqual(body.connection_id, lost.body.connection_id)
  const rows = await h.sql`select id from connections`
  assert.deepEqual([...rows], [{ id: body.connection_id }])
  const [mark] = await h.sql`select effect_id from idempotency_marks`
  assert.equal(mark?.effect_id, body.connection_id)
})

test('a connect that the node did not take leaves no mark, so that the repeat tries again', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  h.node.mode = 'broken'
  assert.equal((await h.call('POST', '/vpn/connect', user, {}, { headers })).status, 503)
  h.node.mode = 'live'
  assert.equal((await h.call('POST', '/vpn/connect', user, {}, { headers })).status, 201)
  assert.equal((await h.sql`select from connections`).length, 1)
})

test('without an idempotency key an unanswered claim is a tunnel its owner can see, end, and move', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  const { body } = await h.call('POST', '/vpn/connect', user, {})
  const status = await h.call('GET', '/vpn/status', user)
  assert.equal(status.body.connections[0].connection_id, body.connection_id)
  assert.equal((await h.call('POST', '/vpn/disconnect', user, {})).status, 200)
  assert.equal((await h.call('POST', '/vpn/connect', user, {})).status, 201)
})
