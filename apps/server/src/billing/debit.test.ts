import assert from 'node:assert/strict'
import { test } from 'node:test'
import { house, URLS, type House } from './testing/house.ts'

const DEBIT = { behaviour: 'pays-later', last4: '3000' } as const
const BAD_DEBIT = { behaviour: 'fails-later', last4: '3002' } as const
const MONTHLY = { plan_id: 'premium_monthly' }

const subjects = (h: House): string[] => h.mails.map(({ subject }) => subject.split(' - ')[0] ?? subject)
const eventTypes = (h: House): string[] => h.standin.events.map(({ type }) => type)
const planOf = async (h: House, user: string): Promise<string> =>
  (await h.call('GET', '/subscriptions/status', user)).body.plan

/** Completes the hosted page with a bank debit; the money is on its way. */
async function debited(h: House, method: typeof DEBIT | typeof BAD_DEBIT) {
  const user = await h.user()
  const { body } = await h.call('POST', '/payments/create', user, { ...MONTHLY, ...URLS })
  assert.ok(h.standin.pay(body.session_id, method))
  await h.settle()
  return { user, session: h.standin.store.get('checkout.session', body.session_id) }
}

test('a bank debit gives no premium while it is under way, though Stripe calls the subscription active', async (t) => {
  const h = await house(t)
  const { user, session } = await debited(h, DEBIT)
  assert.deepEqual([session.status, session.payment_status], ['complete', 'unpaid'])
  assert.ok(eventTypes(h).includes('checkout.session.completed'))
  assert.deepEqual(
    h.standin.store.all('subscription').map(({ status }) => status),
    ['active'],
  )
  assert.deepEqual([(await h.entitlement(user)).tier, await planOf(h, user)], ['free', 'free'])
  await h.days(2)
  assert.equal((await h.entitlement(user)).tier, 'free')
  assert.deepEqual(subjects(h), [])
  assert.deepEqual((await h.call('GET', '/billing/history', user)).body.data, [])
})

test('the debit that comes gives premium, with its receipt, once', async (t) => {
  const h = await house(t)
  const { user, session } = await debited(h, DEBIT)
  await h.days(3.5)
  assert.ok(eventTypes(h).includes('checkout.session.async_payment_succeeded'))
  assert.equal(session.payment_status, 'paid')
  assert.deepEqual([(await h.entitlement(user)).tier, await planOf(h, user)], ['premium', 'premium_monthly'])
  assert.deepEqual(subjects(h), ['Your receipt'])
  assert.equal((await h.call('GET', '/billing/history', user)).body.data.length, 1)
})

test('the success is not missed when its own event is all that arrives', async (t) => {
  const h = await house(t)
  const { user } = await debited(h, DEBIT)
  h.standin.delivery.lost = true
  await h.days(3.5)
  assert.equal((await h.entitlement(user)).tier, 'free')
  const event = h.standin.events.find(({ type }) => type === 'checkout.session.async_payment_succeeded')
  assert.ok(event)
  h.standin.delivery.lost = false
  h.standin.delivery.send(event)
  await h.settle()
  assert.equal((await h.entitlement(user)).tier, 'premium')
})

test('a debit that fails never gives premium, ends at Stripe with a mail, and another purchase can begin', async (t) => {
  const h = await house(t)
  const { user, session } = await debited(h, BAD_DEBIT)
  await h.days(3.5)
  assert.ok(eventTypes(h).includes('checkout.session.async_payment_failed'))
  assert.equal(session.payment_status, 'unpaid')
  assert.deepEqual([(await h.entitlement(user)).tier, await planOf(h, user)], ['free', 'free'])
  assert.deepEqual(
    h.standin.store.all('subscription').map(({ status }) => status),
    ['canceled'],
    'nobody is charged later for a plan that never began',
  )
  assert.deepEqual(subjects(h), ['Your payment did not arrive'])
  await h.days(35)
  assert.ok(h.standin.store.all('charge').every(({ paid }) => !paid))
  const again = await h.call('POST', '/subscriptions/subscribe', user, {
    ...MONTHLY,
    payment_method_id: h.standin.card(),
  })
  assert.deepEqual([again.status, again.body.status], [201, 'active'])
  assert.equal((await h.entitlement(user)).tier, 'premium')
})

test('in an app a bank debit is told as under way, not as an active plan', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const made = await h.call('POST', '/subscriptions/subscribe', user, {
    ...MONTHLY,
    payment_method_id: h.standin.card('pays-later'),
  })
  assert.deepEqual([made.status, made.body.status, made.body.client_secret], [201, 'processing', null])
  await h.settle()
  assert.equal((await h.entitlement(user)).tier, 'free')
  await h.days(3.5)
  assert.equal((await h.entitlement(user)).tier, 'premium')
})

test('a card paid while a debit is under way is the plan; the debit that comes beside it is one too many and goes back', async (t) => {
  const h = await house(t)
  const { user } = await debited(h, DEBIT)
  const card = { ...MONTHLY, payment_method_id: h.standin.card() }
  assert.equal((await h.call('POST', '/subscriptions/subscribe', user, card)).status, 201)
  assert.equal((await h.entitlement(user)).tier, 'premium')
  await h.days(4)
  assert.equal((await h.entitlement(user)).tier, 'premium')
  const kept = h.standin.store
    .all('charge', ({ paid }) => paid)
    .reduce((sum, it) => sum + it.amount - it.amount_refunded, 0)
  assert.equal(kept, 999)
  assert.equal(h.standin.store.all('subscription', ({ status }) => status === 'active').length, 1)
  assert.ok(subjects(h).includes('A second payment was refunded'))
})

test('a renewal by debit goes on while it is under way, and its plan ends when it fails', async (t) => {
  const h = await house(t)
  const { user } = await debited(h, DEBIT)
  await h.days(4)
  await h.days(29)
  assert.equal((await h.entitlement(user)).tier, 'premium')
  await h.days(3)
  assert.equal((await h.call('GET', '/billing/history', user)).body.data.length, 2)
  const bad = await h.call('PUT', '/billing/payment-method', user, {
    payment_method_id: h.standin.card('fails-later'),
  })
  assert.equal(bad.status, 200)
  await h.days(27)
  assert.equal(h.standin.store.all('charge', ({ status }) => status === 'pending').length, 1)
  assert.equal((await h.entitlement(user)).tier, 'premium')
  await h.days(4)
  const [row] = await h.sql`select status from subscriptions where user_id = ${user}`
  // The bank took as long as grace lasts, so nothing is left of it.
  assert.equal(row?.status, 'past_due')
  assert.equal((await h.entitlement(user)).tier, 'free')
  assert.equal(subjects(h).at(-1), 'Your plan has ended')
})

test('while a debit is under way the same purchase is found again, and no other one by debit begins', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const wish = { ...MONTHLY, payment_method_id: h.standin.card('pays-later') }
  const subscribe = (body: object) => h.call('POST', '/subscriptions/subscribe', user, body)
  assert.equal((await subscribe(wish)).body.status, 'processing')
  await h.settle()
  const again = await subscribe(wish)
  assert.deepEqual([again.status, again.body.status], [201, 'processing'])
  const others = [
    await subscribe({ ...MONTHLY, payment_method_id: h.standin.card('pays-later') }),
    await subscribe({ plan_id: 'premium_yearly' }),
    await h.call('POST', '/payments/create-intent', user, MONTHLY),
    await h.call('POST', '/payments/create', user, { ...MONTHLY, ...URLS }),
  ]
  assert.deepEqual(
    others.map(({ status }) => status),
    [409, 409, 409, 409],
  )
  await h.days(4)
  assert.equal((await h.entitlement(user)).tier, 'premium')
  assert.deepEqual(
    h.standin.store.all('charge').map(({ amount, amount_refunded }) => [amount, amount_refunded]),
    [[999, 0]],
  )
  assert.equal((await subscribe(wish)).status, 409)
})

test('a page that was paid by debit is not opened again while the debit is under way', async (t) => {
  const h = await house(t)
  const { user } = await debited(h, DEBIT)
  assert.equal((await h.call('POST', '/payments/create', user, { ...MONTHLY, ...URLS })).status, 409)
  assert.equal((await h.call('POST', '/payments/create-intent', user, MONTHLY)).status, 409)
  const card = { ...MONTHLY, payment_method_id: 'pm_card_visa' }
  assert.equal((await h.call('POST', '/subscriptions/subscribe', user, card)).status, 201)
})

test('a debit whose order never heard of it is found again once the key is forgotten, and not taken twice', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const wish = { ...MONTHLY, payment_method_id: h.standin.card('pays-later') }
  // Its answer is lost with the instance that waited for it.
  h.standin.fault = (method, path) => (method === 'POST' && path === '/v1/subscriptions' ? 'drop-after' : undefined)
  assert.equal((await h.call('POST', '/subscriptions/subscribe', user, wish)).status, 503)
  h.standin.fault = () => undefined
  await h.settle()
  await h.days(1.5)
  const again = await h.call('POST', '/subscriptions/subscribe', user, wish)
  assert.deepEqual([again.status, again.body.status], [201, 'processing'])
  assert.equal(h.standin.store.all('subscription').length, 1)
  assert.equal(h.standin.store.all('charge').length, 1)
})
