import assert from 'node:assert/strict'
import { test } from 'node:test'
import { aPayer, house, URLS, type House } from './testing/house.ts'

const statusOf = async (h: House, user: string) => (await h.call('GET', '/subscriptions/status', user)).body
const subjects = (h: House): string[] => h.mails.map(({ subject }) => subject.replace(/ - .*/, ''))
/** The card on file from now on: what the next charge meets. */
async function cardThat(h: House, user: string, behaviour: 'pays' | 'declines' | 'asks') {
  const { status } = await h.call('PUT', '/billing/payment-method', user, {
    payment_method_id: h.standin.card(behaviour),
  })
  assert.equal(status, 200)
}

test('the plans are those of the contract', async (t) => {
  const h = await house(t)
  const { status, body } = await h.call('GET', '/subscriptions/plans', null)
  assert.equal(status, 200)
  assert.equal(body.billing_enabled, true)
  assert.deepEqual(
    body.plans.map(({ id, price, currency }: { id: string; price: number; currency: string }) => [id, price, currency]),
    [
      ['free', 0, 'USD'],
      ['premium_monthly', 9.99, 'USD'],
      ['premium_yearly', 79.99, 'USD'],
    ],
  )
  assert.deepEqual(body.plans[1].details, { max_devices: 5, max_connections: 5, streaming_support: true })
})

test('free, checkout, active, renewed, failed, past due, recovered', async (t) => {
  const h = await house(t)
  const user = await h.user()
  assert.deepEqual(
    { ...(await statusOf(h, user)), start_date: null },
    { plan: 'free', plan_type: 'free', status: 'active', start_date: null, end_date: null, auto_renew: false },
  )
  const { status, body } = await h.call('POST', '/payments/create', user, {
    plan_type: 'monthly',
    currency: 'usd',
    ...URLS,
  })
  assert.equal(status, 201)
  assert.deepEqual([body.client_secret, body.payment_intent_id], [null, null])
  assert.equal((await h.entitlement(user)).tier, 'free')
  assert.ok(h.standin.pay(body.session_id))
  await h.settle()
  const first = await statusOf(h, user)
  assert.deepEqual(
    [first.plan, first.plan_type, first.status, first.auto_renew],
    ['premium_monthly', 'monthly', 'active', true],
  )
  assert.equal((await h.entitlement(user)).tier, 'premium')
  assert.ok(h.changed.includes(user))
  assert.deepEqual(subjects(h), ['Your receipt'])

  await h.days(32)
  const second = await statusOf(h, user)
  assert.equal(second.status, 'active')
  assert.ok(second.end_date > first.end_date)
  assert.equal((await h.call('GET', '/billing/history', user)).body.data.length, 2)

  await cardThat(h, user, 'declines')
  await h.days(29.5)
  const owing = await statusOf(h, user)
  assert.deepEqual([owing.status, owing.plan, owing.end_date], ['past_due', 'premium_monthly', second.end_date])
  assert.equal((await h.entitlement(user)).tier, 'premium')
  assert.equal(subjects(h).at(-1), 'Your payment failed')
  assert.equal((await h.call('POST', '/subscriptions/subscribe', user, { plan_id: 'premium_monthly' })).status, 409)

  await cardThat(h, user, 'pays')
  await h.days(4)
  const recovered = await statusOf(h, user)
  assert.equal(recovered.status, 'active')
  assert.ok(recovered.end_date > second.end_date)
  assert.equal((await h.entitlement(user)).tier, 'premium')
})

test('grace lasts three days with mails on day 0 and 2; then the plan is free and the row stays past due', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  const { end_date } = await statusOf(h, user)
  await cardThat(h, user, 'declines')
  const untilEnd = (new Date(end_date).getTime() - h.clock.now()) / 86_400_000
  await h.days(untilEnd + 0.2)
  const mailed = () => subjects(h).filter((subject) => subject !== 'Your receipt')
  assert.deepEqual(mailed(), ['Your payment failed'])
  await h.days(1.9)
  assert.deepEqual(mailed(), ['Your payment failed', 'Your plan ends soon'])
  assert.equal((await h.entitlement(user)).tier, 'premium')
  h.changed.length = 0
  await h.days(1)
  assert.equal((await h.entitlement(user)).tier, 'free')
  assert.deepEqual(mailed(), ['Your payment failed', 'Your plan ends soon', 'Your plan has ended'])
  assert.ok(h.changed.includes(user))
  const shown = await statusOf(h, user)
  assert.deepEqual([shown.plan, shown.status, shown.end_date], ['free', 'active', null])
  const row = async () => (await h.sql`select status from subscriptions where user_id = ${user}`)[0]?.status
  assert.equal(await row(), 'past_due')
  assert.equal((await h.call('POST', '/payments/create-intent', user, { plan_id: 'premium_monthly' })).status, 409)

  const { body } = await h.call('POST', '/billing/portal', user)
  const [owed] = h.standin.store.all('invoice', ({ status }) => status === 'open')
  const page = await fetch(body.url, {
    method: 'POST',
    body: new URLSearchParams({ card: '4242', invoice: owed?.id ?? '' }),
  })
  assert.equal(page.status, 200)
  await h.settle()
  assert.equal((await h.entitlement(user)).tier, 'premium')
  assert.equal((await statusOf(h, user)).status, 'active')
})

test("Stripe's end of an unpaid subscription makes the row canceled, and a new one can begin", async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  await cardThat(h, user, 'declines')
  await h.days(42)
  const rows = await h.sql`select status from subscriptions where user_id = ${user}`
  assert.deepEqual(
    rows.map(({ status }) => status),
    ['canceled'],
  )
  const again = await h.call('POST', '/subscriptions/subscribe', user, {
    plan_id: 'premium_yearly',
    payment_method_id: h.standin.card(),
  })
  assert.deepEqual([again.status, again.body.status, again.body.client_secret], [201, 'active', null])
  assert.equal((await h.entitlement(user)).plan_id, 'premium_yearly')
})

test('cancel keeps premium to the end of the period, resume takes it back, and both refuse what makes no sense', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  assert.equal((await h.call('PUT', '/subscriptions/resume', user)).status, 409)
  const cancelled = await h.call('PUT', '/subscriptions/cancel', user)
  assert.deepEqual([cancelled.status, cancelled.body.status, cancelled.body.auto_renew], [200, 'active', false])
  assert.equal((await h.call('PUT', '/subscriptions/cancel', user)).status, 409)
  const resumed = await h.call('PUT', '/subscriptions/resume', user)
  assert.deepEqual([resumed.status, resumed.body.auto_renew], [200, true])
  assert.equal((await h.call('PUT', '/subscriptions/cancel', user)).status, 200)
  await h.days(32)
  const shown = await statusOf(h, user)
  assert.deepEqual([shown.plan, shown.status, shown.end_date], ['free', 'active', null])
  const rows = await h.sql`select status from subscriptions where user_id = ${user}`
  assert.deepEqual(
    rows.map(({ status }) => status),
    ['canceled'],
  )
  assert.equal((await h.call('PUT', '/subscriptions/cancel', user)).status, 409)
  assert.equal((await h.call('GET', '/billing/history', user)).body.data.length, 1)
})

test('a change credits what is unused and charges the rest at once; a card that fails changes nothing', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  assert.equal((await h.call('PUT', '/subscriptions/change', user, { plan_id: 'free' })).status, 400)
  assert.equal((await h.call('PUT', '/subscriptions/change', user, { plan_id: 'premium_monthly' })).status, 409)
  await cardThat(h, user, 'declines')
  const refused = await h.call('PUT', '/subscriptions/change', user, { plan_id: 'premium_yearly' })
  assert.deepEqual([refused.status, refused.body.error.details[0].field], [400, 'payment_method_id'])
  assert.equal((await statusOf(h, user)).plan, 'premium_monthly')
  await cardThat(h, user, 'pays')
  const changed = await h.call('PUT', '/subscriptions/change', user, { plan_id: 'premium_yearly' })
  assert.deepEqual([changed.status, changed.body.plan, changed.body.plan_type], [200, 'premium_yearly', 'yearly'])
  const { body } = await h.call('GET', '/billing/history', user)
  assert.equal(body.data.length, 2)
  assert.ok(Math.abs(body.data[0].amount - (79.99 - 9.99)) < 0.02, `charged ${body.data[0].amount}`)
})

test('a dispute and a full refund end premium at once; a partial refund does not', async (t) => {
  const h = await house(t)
  const disputed = await aPayer(h)
  const [charge] = h.standin.store.all('charge')
  h.standin.dispute(charge?.id ?? '')
  await h.settle()
  assert.equal((await h.entitlement(disputed)).tier, 'free')
  assert.deepEqual(
    h.standin.store.all('subscription').map(({ status }) => status),
    ['canceled'],
  )

  const user = await aPayer(h)
  const staff = await h.user()
  const [payment] = (await h.call('GET', '/billing/history', user)).body.data
  const refund = (amount: number) =>
    h.call('POST', '/payments/refund', staff, { payment_id: payment.id, amount, reason: 'goodwill' }, { role: 'admin' })
  const part = await refund(4)
  assert.deepEqual([part.status, part.body.amount, part.body.status], [201, 4, 'succeeded'])
  await h.settle()
  assert.equal((await h.entitlement(user)).tier, 'premium')
  assert.equal((await refund(6)).status, 400)
  assert.equal((await refund(5.99)).status, 201)
  await h.settle()
  assert.equal((await h.entitlement(user)).tier, 'free')
  const read = await h.call('GET', `/payments/refund/${part.body.refund_id}`, user)
  assert.deepEqual([read.status, read.body.amount], [200, 4])
  assert.equal((await h.call('GET', `/payments/refund/${part.body.refund_id}`, disputed)).status, 404)
})

test('a customer gets the first payment back once, whole, within the window', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  const [payment] = (await h.call('GET', '/billing/history', user)).body.data
  const ask = (who: string, more: object = {}) =>
    h.call('POST', '/payments/refund', who, { payment_id: payment.id, reason: 'changed my mind', ...more })
  assert.equal((await ask(await h.user())).status, 404)
  assert.equal((await ask(user, { amount: 9.99 })).status, 400)
  const done = await ask(user)
  assert.deepEqual([done.status, done.body.amount, done.body.status], [201, 9.99, 'succeeded'])
  await h.settle()
  assert.equal((await h.entitlement(user)).tier, 'free')
  assert.equal((await ask(user)).status, 403)
  assert.ok(subjects(h).includes('Your refund'))

  const late = await aPayer(h)
  await h.days(15)
  const [old] = (await h.call('GET', '/billing/history', late)).body.data
  assert.equal((await h.call('POST', '/payments/refund', late, { payment_id: old.id, reason: 'late' })).status, 403)
})
