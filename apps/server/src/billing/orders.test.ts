import assert from 'node:assert/strict'
import { test } from 'node:test'
import { house } from './testing/house.ts'

const KEY = 'a-key-of-some-length'

test('a repeat of a call whose order was given up does not buy beside what was bought since', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const body = { plan_id: 'premium_monthly', payment_method_id: h.standin.card() }
  // Stripe never hears of the first order, and its instance dies before it can answer.
  h.standin.fault = (method, path) => (method === 'POST' && path.endsWith('/attach') ? 'refuse' : undefined)
  assert.equal((await h.call('POST', '/subscriptions/subscribe', user, body)).status, 503)
  h.standin.fault = () => undefined
  const [order] = await h.sql`select id from billing_orders`
  const other = { plan_id: 'premium_yearly', payment_method_id: h.standin.card() }
  assert.equal((await h.call('POST', '/subscriptions/subscribe', user, other)).status, 201)
  assert.equal((await h.call('POST', '/subscriptions/subscribe', user, body, { key: KEY })).status, 409)
  await h.owner`
    update idempotency_marks set status = null, answer = null, effect_id = ${order?.id},
           claimed_at = clock_timestamp() - interval '31 seconds'`
  assert.equal((await h.call('POST', '/subscriptions/subscribe', user, body, { key: KEY })).status, 409)
  await h.settle()
  const charged = h.standin.store.all('charge', ({ paid }) => paid)
  assert.deepEqual(
    charged.map(({ amount }) => amount),
    [7999],
  )
})
