import assert from 'node:assert/strict'
import { test } from 'node:test'
import { aPayer, house, type House } from './testing/house.ts'

const MONTHLY = { plan_id: 'premium_monthly' }
const YEARLY = { plan_id: 'premium_yearly' }
const kept = (h: House): number =>
  h.standin.store.all('charge', ({ paid }) => paid).reduce((sum, it) => sum + it.amount - it.amount_refunded, 0)
const planOf = async (h: House, user: string): Promise<string> =>
  (await h.call('GET', '/subscriptions/status', user)).body.plan
const confirm = (h: House, user: string, payment_intent_id: string) =>
  h.call('POST', '/payments/confirm', user, { payment_intent_id, payment_method_id: h.standin.card() })

/** A first purchase that waits for its card while tidying is away, and a second one that was paid. */
async function oneOpenOnePaid(h: House) {
  const user = await h.user()
  const { body } = await h.call('POST', '/payments/create-intent', user, MONTHLY)
  h.standin.fault = (method, path) => (method === 'GET' && path === '/v1/checkout/sessions' ? 'refuse' : undefined)
  h.standin.advance(60)
  const card = { ...YEARLY, payment_method_id: h.standin.card() }
  assert.equal((await h.call('POST', '/subscriptions/subscribe', user, card)).status, 201)
  return { user, intent: body.payment_intent_id as string }
}

test('beside a live subscription no other payment is confirmed', async (t) => {
  const h = await house(t, { jobs: false })
  const { user, intent } = await oneOpenOnePaid(h)
  const answer = await confirm(h, user, intent)
  assert.deepEqual([answer.status, answer.body.error.code], [409, 'CONFLICT'])
  assert.deepEqual([kept(h), await planOf(h, user)], [7999, 'premium_yearly'])
})

test('the second one that is paid nevertheless is cancelled and refunded, though it was begun first', async (t) => {
  const h = await house(t)
  const { user, intent } = await oneOpenOnePaid(h)
  h.standin.advance(60)
  const paid = await fetch(`${h.standin.base}/v1/payment_intents/${intent}/confirm`, {
    method: 'POST',
    headers: { authorization: `Bearer ${h.standin.apiKey}`, 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ payment_method: h.standin.card() }),
  })
  assert.equal(paid.status, 200)
  h.standin.fault = () => undefined
  await h.settle()
  assert.deepEqual([kept(h), await planOf(h, user)], [7999, 'premium_yearly'])
})

test('beside a granted plan no payment is confirmed', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const { body } = await h.call('POST', '/payments/create-intent', user, MONTHLY)
  const grant = { action: 'grant', plan_id: 'premium_monthly', days: 30 }
  await h.call('PUT', `/admin/users/${user}/subscription`, await h.user(), grant, { role: 'admin' })
  assert.equal((await confirm(h, user, body.payment_intent_id)).status, 409)
  assert.equal(kept(h), 0)
})

test('who bought on the hosted page confirms an owed renewal with another card', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  for (const id of Object.keys(h.standin.store.state.behaviours)) h.standin.store.state.behaviours[id] = 'declines'
  await h.days(31.5)
  const [owed] = h.standin.store.all('payment_intent', ({ status }) => status !== 'succeeded')
  const answer = await confirm(h, user, owed?.id ?? '')
  assert.deepEqual([answer.status, answer.body.status], [200, 'succeeded'])
  assert.equal((await h.call('GET', '/subscriptions/status', user)).body.status, 'active')
})

test('a payment whose order was swept is still confirmed, and one whose subscription is over is not', async (t) => {
  const h = await house(t)
  const intentOf = async (user: string) =>
    (await h.call('POST', '/payments/create-intent', user, MONTHLY)).body.payment_intent_id
  const [payer, late] = [await h.user(), await h.user()]
  const over = await intentOf(late)
  const [subscription] = h.standin.store.all('subscription')
  const paid = await intentOf(payer)
  assert.ok(subscription)
  await h.sql`delete from billing_orders`
  assert.equal((await confirm(h, payer, paid)).body.status, 'succeeded')
  subscription.status = 'canceled'
  assert.equal((await confirm(h, late, over)).status, 409)
  assert.equal(kept(h), 999)
})
