import assert from 'node:assert/strict'
import { test } from 'node:test'
import { house, URLS } from './testing/house.ts'

const MONTHLY = { plan_id: 'premium_monthly' }
/** 9.99 and the stand-in's 20 %. */
const WITH_TAX = 1_199

test('with Stripe Tax the page takes the tax on top, and history and refund are of what was paid', async (t) => {
  const h = await house(t, { env: { STRIPE_TAX: '1' } })
  const user = await h.user()
  const { body } = await h.call('POST', '/payments/create', user, { ...MONTHLY, ...URLS })
  const session = h.standin.store.get('checkout.session', body.session_id)
  assert.deepEqual(session.automatic_tax, {
    enabled: true,
    liability: { type: 'self' },
    provider: 'stripe',
    status: 'requires_location_inputs',
  })
  assert.ok(h.standin.pay(body.session_id))
  await h.settle()
  assert.equal(session.automatic_tax.status, 'complete')
  const [subscription] = h.standin.store.all('subscription')
  assert.equal(subscription?.automatic_tax.enabled, true)
  const [invoice] = h.standin.store.all('invoice')
  assert.deepEqual([invoice?.subtotal, invoice?.total_excluding_tax, invoice?.total], [999, 999, WITH_TAX])
  assert.deepEqual(
    invoice?.total_taxes.map(({ amount, tax_behavior }) => [amount, tax_behavior]),
    [[200, 'exclusive']],
  )
  assert.equal((await h.entitlement(user)).tier, 'premium')
  const [payment] = (await h.call('GET', '/billing/history', user)).body.data
  assert.equal(payment.amount, WITH_TAX / 100)
  const refund = await h.call('POST', '/payments/refund', user, { payment_id: payment.id, reason: 'mine' })
  assert.deepEqual([refund.status, refund.body.amount], [201, WITH_TAX / 100])
  assert.equal(h.standin.store.all('charge')[0]?.amount_refunded, WITH_TAX)
})

test('renewals are taxed like the first period', async (t) => {
  const h = await house(t, { env: { STRIPE_TAX: '1' } })
  const user = await h.user()
  const card = { ...MONTHLY, payment_method_id: h.standin.card() }
  assert.equal((await h.call('POST', '/subscriptions/subscribe', user, card)).body.status, 'active')
  await h.days(32)
  assert.deepEqual(
    h.standin.store.all('charge').map(({ amount }) => amount),
    [WITH_TAX, WITH_TAX],
  )
})

test('where tax has no address to be computed from, the caller hears what is missing', async (t) => {
  const h = await house(t, { env: { STRIPE_TAX: '1' } })
  const made = await h.call('POST', '/payments/create-intent', await h.user(), MONTHLY)
  assert.equal(made.status, 400)
  assert.equal(made.body.error.details[0].field, 'payment_method_id')
  assert.equal(h.standin.store.all('subscription').length, 0)
})

test('without Stripe Tax nothing is added', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const { body } = await h.call('POST', '/payments/create', user, { ...MONTHLY, ...URLS })
  assert.ok(h.standin.pay(body.session_id))
  await h.settle()
  const [invoice] = h.standin.store.all('invoice')
  assert.deepEqual([invoice?.total, invoice?.total_taxes, invoice?.automatic_tax.enabled], [999, [], false])
})
