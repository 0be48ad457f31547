import assert from 'node:assert/strict'
import { test } from 'node:test'
import { aPayer, house, URLS, type House } from './testing/house.ts'

const MONTHLY = { plan_id: 'premium_monthly' }
const live = (h: House) =>
  h.standin.store.all('subscription', ({ status }) => ['active', 'trialing', 'past_due'].includes(status))
const taken = (h: House): number =>
  h.standin.store.all('charge', ({ paid }) => paid).reduce((sum, it) => sum + it.amount - it.amount_refunded, 0)
const fieldOf = (answer: { body: { error?: { details?: { field: string }[] } } }) =>
  answer.body.error?.details?.[0]?.field

test('an in-app purchase: the intent of the first invoice, confirmed with a card', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const made = await h.call('POST', '/payments/create-intent', user, MONTHLY)
  assert.equal(made.status, 201)
  assert.match(made.body.client_secret, new RegExp(`^${made.body.payment_intent_id}_secret_`))
  assert.equal((await h.entitlement(user)).tier, 'free')
  const { payment_intent_id } = made.body
  const confirm = (who: string, card: string) =>
    h.call('POST', '/payments/confirm', who, { payment_intent_id, payment_method_id: card })
  assert.equal((await confirm(await h.user(), h.standin.card())).status, 404)
  const declined = await confirm(user, h.standin.card('declines'))
  assert.deepEqual([declined.status, fieldOf(declined)], [400, 'payment_method_id'])
  assert.equal((await h.entitlement(user)).tier, 'free')
  const paid = await confirm(user, h.standin.card())
  assert.deepEqual([paid.status, paid.body], [200, { payment_intent_id, status: 'succeeded' }])
  assert.equal((await h.entitlement(user)).tier, 'premium')
  assert.equal((await confirm(user, h.standin.card())).body.status, 'succeeded')
  assert.equal(taken(h), 999)
})

test('a bank that asks leaves the subscription incomplete until its answer', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const made = await h.call('POST', '/subscriptions/subscribe', user, {
    ...MONTHLY,
    payment_method_id: h.standin.card('asks'),
  })
  assert.deepEqual([made.status, made.body.status], [201, 'incomplete'])
  assert.ok(made.body.client_secret)
  await h.settle()
  assert.equal((await h.entitlement(user)).tier, 'free')
  await fetch(`${h.standin.base}/auth/${made.body.payment_intent_id}`, { method: 'POST' })
  await h.settle()
  assert.equal((await h.entitlement(user)).tier, 'premium')
})

test('what cannot be bought is refused: free, unknown, wrong currency, no card, foreign addresses', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const post = (path: string, body: object) => h.call('POST', path, user, body)
  for (const [path, body, field] of [
    ['/subscriptions/subscribe', { plan_id: 'free' }, 'plan_id'],
    ['/subscriptions/subscribe', { plan_id: 'nothing' }, 'plan_id'],
    ['/subscriptions/subscribe', MONTHLY, 'payment_method_id'],
    ['/subscriptions/subscribe', { ...MONTHLY, payment_method_id: 'pm_unknown' }, 'payment_method_id'],
    ['/subscriptions/subscribe', { ...MONTHLY, payment_method_id: 'pm_card_chargeDeclined' }, 'payment_method_id'],
    ['/subscriptions/subscribe', { ...MONTHLY, payment_method_id: '../customers' }, 'payment_method_id'],
    [
      '/subscriptions/subscribe',
      { ...MONTHLY, payment_method_id: h.standin.card(), promotion_code: 'NONE' },
      'promotion_code',
    ],
    ['/payments/create-intent', { ...MONTHLY, currency: 'JPY' }, 'currency'],
    ['/payments/create-intent', { ...MONTHLY, amount: 1 }, 'amount'],
    ['/payments/create', { ...MONTHLY, plan_type: 'monthly', ...URLS }, 'plan_id'],
    ['/payments/create', URLS, 'plan_id'],
    ['/payments/create', { ...MONTHLY, ...URLS, success_url: 'https://vpn.example.com.evil.test/' }, 'success_url'],
    ['/payments/create', { ...MONTHLY, ...URLS, success_url: 'http://vpn.example.com/' }, 'success_url'],
    ['/payments/create', { ...MONTHLY, ...URLS, cancel_url: 'https://vpn.example.com@evil.test/' }, 'cancel_url'],
    ['/payments/create', { ...MONTHLY, ...URLS, cancel_url: 'javascript:alert(1)' }, 'cancel_url'],
    ['/payments/confirm', { payment_intent_id: 'pi_1/../../refunds' }, 'payment_intent_id'],
  ] as const) {
    const answer = await post(path, body)
    assert.deepEqual([answer.status, fieldOf(answer)], [400, field], `${path} ${JSON.stringify(body)}`)
  }
  assert.equal((await post('/payments/confirm', { payment_intent_id: 'pi_none' })).status, 404)
  const app = await post('/payments/create', { ...MONTHLY, ...URLS, success_url: 'https://app.example.com/done' })
  assert.equal(app.status, 201)
  assert.equal(taken(h), 0)
})

test("another customer's card is refused", async (t) => {
  const h = await house(t)
  const card = h.standin.card()
  const owner = await h.user()
  assert.equal(
    (await h.call('POST', '/subscriptions/subscribe', owner, { ...MONTHLY, payment_method_id: card })).status,
    201,
  )
  const thief = await h.user()
  const answer = await h.call('POST', '/subscriptions/subscribe', thief, { ...MONTHLY, payment_method_id: card })
  assert.deepEqual([answer.status, fieldOf(answer)], [400, 'payment_method_id'])
  assert.equal(live(h).length, 1)
})

test('ten calls at once make one subscription and one charge', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const payment_method_id = h.standin.card()
  const answers = await Promise.all(
    Array.from({ length: 10 }, () =>
      h.call('POST', '/subscriptions/subscribe', user, { ...MONTHLY, payment_method_id }),
    ),
  )
  assert.ok(
    answers.every(({ status }) => status === 201 || status === 409),
    JSON.stringify(answers.map((a) => a.body)),
  )
  assert.ok(answers.some(({ status }) => status === 201))
  assert.equal(h.standin.store.all('subscription').length, 1)
  assert.equal(taken(h), 999)
})

test('a repeat with the same key gets the first answer', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const body = { ...MONTHLY, payment_method_id: h.standin.card() }
  const key = 'a-key-of-some-length'
  const first = await h.call('POST', '/subscriptions/subscribe', user, body, { key })
  const again = await h.call('POST', '/subscriptions/subscribe', user, body, { key })
  assert.deepEqual([first.status, again.status, again.headers['idempotent-replayed']], [201, 201, 'true'])
  assert.deepEqual(again.body, first.body)
  assert.equal(
    (await h.call('POST', '/subscriptions/subscribe', user, { plan_id: 'premium_yearly' }, { key })).status,
    409,
  )
})

test('two pages paid side by side: one subscription stays, the other is cancelled and refunded, with a mail', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const first = await h.call('POST', '/payments/create', user, { ...MONTHLY, ...URLS })
  const second = await h.call('POST', '/payments/create', user, { plan_id: 'premium_yearly', ...URLS })
  // Both are open until the job closes the first: pay before it can.
  h.standin.pay(second.body.session_id)
  if (h.standin.store.find('checkout.session', first.body.session_id)?.status === 'open')
    h.standin.pay(first.body.session_id)
  await h.settle()
  assert.equal(live(h).length, 1)
  assert.equal(taken(h), live(h)[0]?.items.data[0]?.price.unit_amount)
  assert.equal((await h.entitlement(user)).tier, 'premium')
  const rows = await h.sql`select status from subscriptions where user_id = ${user} and status <> 'canceled'`
  assert.equal(rows.length, 1)
})

test('a page that was left for another cannot be paid any more', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const first = await h.call('POST', '/payments/create', user, { ...MONTHLY, ...URLS })
  await h.call('POST', '/payments/create', user, { plan_id: 'premium_yearly', ...URLS })
  await h.settle()
  assert.equal(h.standin.store.find('checkout.session', first.body.session_id)?.status, 'expired')
  const again = await h.call('POST', '/payments/create', user, { plan_id: 'premium_yearly', ...URLS })
  const same = await h.call('POST', '/payments/create', user, { plan_id: 'premium_yearly', ...URLS })
  assert.equal(again.body.session_id, same.body.session_id)
})

test('what a paid subscription stands beside: 409 for each way to buy', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  for (const [path, body] of [
    ['/subscriptions/subscribe', { ...MONTHLY, payment_method_id: h.standin.card() }],
    ['/payments/create', { ...MONTHLY, ...URLS }],
    ['/payments/create-intent', MONTHLY],
  ] as const)
    assert.equal((await h.call('POST', path, user, body)).status, 409, path)
})

test('with Stripe away buying is 503, and what was bought goes on', async (t) => {
  const h = await house(t)
  const payer = await aPayer(h)
  h.standin.fault = () => 'refuse'
  const user = await h.user()
  const answer = await h.call('POST', '/payments/create', user, { ...MONTHLY, ...URLS })
  assert.deepEqual([answer.status, answer.body.error.code], [503, 'UNAVAILABLE'])
  assert.equal((await h.entitlement(payer)).tier, 'premium')
  assert.equal((await h.call('GET', '/subscriptions/status', payer)).body.plan, 'premium_monthly')
  assert.equal((await h.call('GET', '/billing/history', payer)).body.data.length, 1)
  h.standin.fault = () => undefined
  assert.equal((await h.call('POST', '/payments/create', user, { ...MONTHLY, ...URLS })).status, 201)
})

test('an answer that was lost on its way is asked for again with the same key, not twice', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const seen = new Set<string>()
  // Every write is done by Stripe, and its first answer never arrives.
  h.standin.fault = (method, path) => {
    if (method !== 'POST' || seen.has(path)) return undefined
    seen.add(path)
    return 'drop-after'
  }
  const answer = await h.call('POST', '/subscriptions/subscribe', user, {
    ...MONTHLY,
    payment_method_id: h.standin.card(),
  })
  assert.deepEqual([answer.status, answer.body.status], [201, 'active'])
  assert.ok(seen.has('/v1/subscriptions'))
  assert.equal(h.standin.store.all('subscription').length, 1)
  assert.equal(h.standin.store.all('customer').length, 1)
  assert.equal(taken(h), 999)
})

test('promotion codes, trials once per account, and other currencies', async (t) => {
  const h = await house(t)
  const admin = await h.user()
  const put = await h.call(
    'PUT',
    '/admin/plans/premium_monthly',
    admin,
    {
      trial_days: 7,
      prices: [
        { currency: 'USD', amount: 9.99 },
        { currency: 'jpy', amount: 1500 },
        { currency: 'EUR', amount: 8.5 },
      ],
    },
    { role: 'admin' },
  )
  assert.equal(put.status, 200)
  const user = await h.user()
  const trial = await h.call('POST', '/subscriptions/subscribe', user, {
    ...MONTHLY,
    payment_method_id: h.standin.card(),
  })
  assert.deepEqual([trial.body.status, trial.body.client_secret, taken(h)], ['active', null, 0])
  assert.equal((await h.call('GET', '/subscriptions/status', user)).body.status, 'active')
  await h.days(8)
  assert.equal(taken(h), 999)
  await h.call('PUT', '/subscriptions/cancel', user)
  await h.days(32)
  await h.call('POST', '/subscriptions/subscribe', user, { ...MONTHLY, payment_method_id: h.standin.card() })
  assert.equal(taken(h), 2 * 999)

  await h.call('PUT', '/admin/plans/premium_monthly', admin, { trial_days: 0 }, { role: 'admin' })
  const yen = await h.user()
  const made = await h.call('POST', '/payments/create-intent', yen, { ...MONTHLY, currency: 'JPY' })
  await h.call('POST', '/payments/confirm', yen, {
    payment_intent_id: made.body.payment_intent_id,
    payment_method_id: h.standin.card(),
  })
  const { body } = await h.call('GET', '/billing/history', yen)
  assert.deepEqual([body.data[0].amount, body.data[0].currency], [1500, 'JPY'])
})

test('an unverified session pays nothing where addresses must be verified', async (t) => {
  const h = await house(t, { env: { REQUIRE_EMAIL_VERIFICATION: '1' } })
  const user = await h.user()
  const payer = await aPayer(h)
  const card = { ...MONTHLY, payment_method_id: h.standin.card() }
  for (const [method, path, who, body] of [
    ['POST', '/payments/create', user, { ...MONTHLY, ...URLS }],
    ['POST', '/payments/create-intent', user, MONTHLY],
    ['POST', '/payments/confirm', user, { payment_intent_id: 'pi_1' }],
    ['POST', '/subscriptions/subscribe', user, card],
    ['PUT', '/subscriptions/change', payer, { plan_id: 'premium_yearly' }],
  ] as const) {
    const answer = await h.call(method, path, who, body, { unverified: true })
    assert.deepEqual([answer.status, answer.body.error?.code], [403, 'EMAIL_NOT_VERIFIED'], path)
  }
  assert.equal(taken(h), 999)
})

test('an invoice shows its links to its owner alone', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  const [payment] = (await h.call('GET', '/billing/history', user)).body.data
  const { status, body } = await h.call('GET', `/billing/invoices/${payment.invoice_id}`, user)
  assert.deepEqual([status, body.total, body.currency, body.status], [200, 9.99, 'USD', 'paid'])
  assert.match(body.pdf_url, /^http:\/\/127\.0\.0\.1.*pdf$/)
  assert.equal((await h.call('GET', `/billing/invoices/${payment.invoice_id}`, await h.user())).status, 404)
})
