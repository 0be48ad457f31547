import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test, type TestContext } from 'node:test'
import Stripe from 'stripe'
import type { z } from 'zod'
import { ENDPOINTS } from './api.ts'
import { StripeStandin } from './index.ts'

async function shop(t: TestContext) {
  const standin = await StripeStandin.start()
  t.after(() => standin.close())
  const { hostname, port } = new URL(standin.base)
  const stripe = new Stripe(standin.apiKey, {
    host: hostname,
    port: Number(port),
    protocol: 'http',
    maxNetworkRetries: 0,
  })
  const product = await stripe.products.create({ name: 'Premium' })
  const monthly = await stripe.prices.create({
    product: product.id,
    currency: 'usd',
    unit_amount: 999,
    recurring: { interval: 'month' },
  })
  const customer = await stripe.customers.create({ email: 'a@example.com' })
  return { standin, stripe, product, monthly, customer }
}

const failsWith = (code: string) => (error: unknown) => {
  assert.ok(error instanceof Stripe.errors.StripeError, String(error))
  assert.equal(error.code ?? error.rawType, code)
  return true
}

test('a parameter that is unknown or missing is an error, as at Stripe', async (t) => {
  const { stripe, customer, monthly } = await shop(t)
  const unknown = {
    customer: customer.id,
    items: [{ price: monthly.id }],
    colour: 'red',
  } as Stripe.SubscriptionCreateParams
  await assert.rejects(stripe.subscriptions.create(unknown), failsWith('parameter_unknown'))
  const nested = {
    customer: customer.id,
    items: [Object.assign({ price: monthly.id }, { colour: 'red' })],
  } as Stripe.SubscriptionCreateParams
  await assert.rejects(stripe.subscriptions.create(nested), failsWith('parameter_unknown'))
  await assert.rejects(stripe.subscriptions.create({ customer: customer.id }), failsWith('parameter_missing'))
  await assert.rejects(stripe.subscriptions.retrieve('sub_none'), failsWith('resource_missing'))
})

test('a repeated idempotency key gets the first answer, and with other parameters it is refused', async (t) => {
  const { stripe } = await shop(t)
  const first = await stripe.customers.create({ email: 'b@example.com' }, { idempotencyKey: 'k1' })
  const again = await stripe.customers.create({ email: 'b@example.com' }, { idempotencyKey: 'k1' })
  assert.equal(again.id, first.id)
  await assert.rejects(
    stripe.customers.create({ email: 'c@example.com' }, { idempotencyKey: 'k1' }),
    failsWith('idempotency_error'),
  )
})

test('a subscription is incomplete until its first invoice is paid, renews, and falls due when the card fails', async (t) => {
  const { standin, stripe, customer, monthly } = await shop(t)
  const made = await stripe.subscriptions.create({
    customer: customer.id,
    items: [{ price: monthly.id }],
    payment_behavior: 'default_incomplete',
    payment_settings: { save_default_payment_method: 'on_subscription' },
    expand: ['latest_invoice.confirmation_secret', 'latest_invoice.payments'],
  })
  assert.equal(made.status, 'incomplete')
  const invoice = made.latest_invoice as Stripe.Invoice
  const intent = invoice.payments?.data[0]?.payment.payment_intent
  assert.ok(typeof intent === 'string')
  assert.match(invoice.confirmation_secret?.client_secret ?? '', new RegExp(`^${intent}_secret_`))
  await stripe.paymentIntents
    .confirm(intent, { payment_method: 'pm_card_chargeCustomerFail' })
    .then(() => assert.fail('it was paid'), failsWith('card_declined'))
  const paid = await stripe.paymentIntents.confirm(intent, { payment_method: 'pm_card_visa' })
  assert.equal(paid.status, 'succeeded')
  const status = async () => (await stripe.subscriptions.retrieve(made.id)).status
  assert.equal(await status(), 'active')
  standin.advance(32 * 86_400)
  assert.equal(await status(), 'active')
  const bad = await stripe.paymentMethods.attach('pm_card_chargeCustomerFail', { customer: customer.id })
  await stripe.subscriptions.update(made.id, { default_payment_method: bad.id })
  standin.advance(31 * 86_400)
  assert.equal(await status(), 'past_due')
  standin.advance(10 * 86_400)
  assert.equal(await status(), 'canceled')
  const charges = await stripe.charges.list({ customer: customer.id, limit: 100, expand: ['data.refunds'] })
  assert.equal(charges.data.filter(({ paid: good }) => good).length, 2)
})

test('a refund above the charge is refused', async (t) => {
  const { standin, stripe, customer, monthly } = await shop(t)
  const session = await stripe.checkout.sessions.create({
    mode: 'subscription',
    customer: customer.id,
    line_items: [{ price: monthly.id, quantity: 1 }],
    success_url: 'http://localhost/done?s={CHECKOUT_SESSION_ID}',
  })
  const page = await fetch(session.url ?? '')
  assert.match(await page.text(), /Premium<\/strong>: 9\.99 USD each month/)
  const answer = await fetch(session.url ?? '', {
    method: 'POST',
    body: new URLSearchParams({ card: '4242' }),
    redirect: 'manual',
  })
  assert.equal(answer.headers.get('location'), `http://localhost/done?s=${session.id}`)
  const [charge] = (await stripe.charges.list({ customer: customer.id })).data
  assert.ok(charge)
  await stripe.refunds.create({ charge: charge.id, amount: 900 })
  await assert.rejects(stripe.refunds.create({ charge: charge.id, amount: 100 }), failsWith('parameter_invalid'))
  await stripe.refunds.create({ charge: charge.id })
  await assert.rejects(stripe.refunds.create({ charge: charge.id }), failsWith('charge_already_refunded'))
  assert.equal(standin.events.filter(({ type }) => type === 'charge.refunded').length, 2)
})

/** The interface of the SDK (generated from Stripe's API description) that names the parameters of a call. */
const DESCRIBED: Record<string, [file: string, name: string]> = {
  'POST /v1/customers': ['Customers', 'CustomerCreateParams'],
  'POST /v1/customers/:id': ['Customers', 'CustomerUpdateParams'],
  'POST /v1/customers/:id/balance_transactions': ['Customers', 'CustomerCreateBalanceTransactionParams'],
  'POST /v1/payment_methods/:id/attach': ['PaymentMethods', 'PaymentMethodAttachParams'],
  'POST /v1/setup_intents': ['SetupIntents', 'SetupIntentCreateParams'],
  'POST /v1/billing_portal/sessions': ['BillingPortal/Sessions', 'SessionCreateParams'],
  'POST /v1/products': ['Products', 'ProductCreateParams'],
  'POST /v1/prices': ['Prices', 'PriceCreateParams'],
  'POST /v1/coupons': ['Coupons', 'CouponCreateParams'],
  'POST /v1/promotion_codes': ['PromotionCodes', 'PromotionCodeCreateParams'],
  'POST /v1/subscriptions': ['Subscriptions', 'SubscriptionCreateParams'],
  'POST /v1/subscriptions/:id': ['Subscriptions', 'SubscriptionUpdateParams'],
  'DELETE /v1/subscriptions/:id': ['Subscriptions', 'SubscriptionCancelParams'],
  'POST /v1/checkout/sessions': ['Checkout/Sessions', 'SessionCreateParams'],
  'POST /v1/invoices/:id/pay': ['Invoices', 'InvoicePayParams'],
  'POST /v1/payment_intents/:id/confirm': ['PaymentIntents', 'PaymentIntentConfirmParams'],
  'POST /v1/refunds': ['Refunds', 'RefundCreateParams'],
}

test('every parameter it takes is one of the API description', async () => {
  const folder = new URL('resources/', import.meta.resolve('stripe'))
  let compared = 0
  for (const { method, path, params } of ENDPOINTS) {
    const described = DESCRIBED[`${method} ${path}`]
    if (!described) continue
    const text = await readFile(new URL(`${described[0]}.d.ts`, folder), 'utf8')
    const [, body = ''] = new RegExp(`interface ${described[1]} \\{(.*?)\\n *\\}\\n`, 's').exec(text) ?? []
    const known = new Set([...body.matchAll(/^ +(\w+)\??:/gm)].map(([, name]) => name))
    assert.ok(known.size > 0, `${described[1]} was not found`)
    for (const name of Object.keys((params as z.ZodObject).shape))
      assert.ok(known.has(name), `${method} ${path}: ${name}`)
    compared++
  }
  assert.equal(compared, Object.keys(DESCRIBED).length)
})
