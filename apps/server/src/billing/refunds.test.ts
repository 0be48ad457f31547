import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { aPayer, house, URLS, type House } from './testing/house.ts'

/** More than the pool has connections, so that calls also wait for one. */
const CALLS = 30

type Books = { ours: number; refunds: number; theirs: number; theirRefunds: number }

/** What was given back of the one payment: by our tables, and by Stripe's. */
async function books(h: House): Promise<Books> {
  const [row] = await h.sql<{ sum: bigint; count: bigint }[]>`
    select coalesce(sum(amount_minor), 0) as sum, count(*) as count from refunds where status <> 'failed'`
  const [charge] = h.standin.store.all('charge')
  return {
    ours: Number(row?.sum),
    refunds: Number(row?.count),
    theirs: charge?.amount_refunded ?? 0,
    theirRefunds: h.standin.store.all('refund').length,
  }
}

const paymentOf = async (h: House, user: string): Promise<string> =>
  (await h.call('GET', '/billing/history', user)).body.data[0].id

const STAFF = { role: 'admin' } as const

/** Someone who paid, in a house whose jobs run only when the test says so. */
async function paidWithoutJobs(h: House): Promise<string> {
  const user = await h.user()
  const body = { plan_id: 'premium_monthly', payment_method_id: h.standin.card() }
  assert.equal((await h.call('POST', '/subscriptions/subscribe', user, body)).status, 201)
  return user
}

const outcomes = (answers: { status: number }[]): Record<number, number> => {
  const counted: Record<number, number> = {}
  for (const { status } of answers) counted[status] = (counted[status] ?? 0) + 1
  return counted
}

test('of thirty partial refunds at once as many go through as the charge holds, here and at Stripe', async (t) => {
  const h = await house(t)
  const payment_id = await paymentOf(h, await aPayer(h))
  const staff = await h.user()
  const answers = await Promise.all(
    Array.from({ length: CALLS }, () =>
      h.call('POST', '/payments/refund', staff, { payment_id, amount: 1.5, reason: 'race' }, { role: 'admin' }),
    ),
  )
  await h.settle()
  // 9.99 holds 1.50 six times.
  assert.deepEqual(outcomes(answers), { 201: 6, 400: CALLS - 6 })
  assert.deepEqual(await books(h), { ours: 900, refunds: 6, theirs: 900, theirRefunds: 6 })
  const [payment] = await h.sql`select refunded_minor, status from payments`
  assert.deepEqual([payment?.refunded_minor, payment?.status], [900, 'partially_refunded'])
})

test('of thirty refunds of the whole at once, without an amount, one goes through', async (t) => {
  const h = await house(t)
  const payment_id = await paymentOf(h, await aPayer(h))
  const staff = await h.user()
  const answers = await Promise.all(
    Array.from({ length: CALLS }, () =>
      h.call('POST', '/payments/refund', staff, { payment_id, reason: 'race' }, { role: 'admin' }),
    ),
  )
  await h.settle()
  assert.deepEqual(outcomes(answers), { 201: 1, 400: CALLS - 1 })
  assert.deepEqual(await books(h), { ours: 999, refunds: 1, theirs: 999, theirRefunds: 1 })
})

test("a customer's own refund, asked for thirty times at once and beside staff, is given once and never beyond the charge", async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  const payment_id = await paymentOf(h, user)
  const staff = await h.user()
  const [own, parts] = await Promise.all([
    Promise.all(
      Array.from({ length: CALLS }, () => h.call('POST', '/payments/refund', user, { payment_id, reason: 'mine' })),
    ),
    Promise.all(
      Array.from({ length: 10 }, () =>
        h.call('POST', '/payments/refund', staff, { payment_id, amount: 2, reason: 'goodwill' }, { role: 'admin' }),
      ),
    ),
  ])
  await h.settle()
  const { ours, theirs, refunds, theirRefunds } = await books(h)
  assert.deepEqual([ours, refunds], [theirs, theirRefunds])
  assert.ok(ours <= 999, `${ours} of 999 was given back`)
  // Whoever came first: the customer with everything, or staff with parts of it, after which the customer has no right.
  const won = outcomes(own)[201] ?? 0
  const given = outcomes(parts)[201] ?? 0
  assert.ok((won === 1 && given === 0) || (won === 0 && given === 4), JSON.stringify({ won, given }))
})

test("a customer's own refund, asked for thirty times at once, is given once", async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  const payment_id = await paymentOf(h, user)
  const answers = await Promise.all(
    Array.from({ length: CALLS }, () => h.call('POST', '/payments/refund', user, { payment_id, reason: 'mine' })),
  )
  await h.settle()
  assert.deepEqual(outcomes(answers), { 201: 1, 403: CALLS - 1 })
  assert.deepEqual(await books(h), { ours: 999, refunds: 1, theirs: 999, theirRefunds: 1 })
  assert.equal((await h.entitlement(user)).tier, 'free')
  assert.equal(h.mails.filter(({ subject }) => subject.startsWith('Your refund ')).length, 1)
})

test('one idempotency key is one refund, however many calls carry it at once', async (t) => {
  const h = await house(t)
  const payment_id = await paymentOf(h, await aPayer(h))
  const staff = await h.user()
  const ask = () =>
    h.call(
      'POST',
      '/payments/refund',
      staff,
      { payment_id, amount: 1, reason: 'race' },
      { role: 'admin', key: 'refund-of-one-payment' },
    )
  const answers = await Promise.all(Array.from({ length: CALLS }, ask))
  // While the first still runs, others hear so; afterwards all hear its answer.
  assert.ok(
    answers.every(({ status }) => status === 201 || status === 409),
    JSON.stringify(outcomes(answers)),
  )
  assert.equal((await ask()).status, 201)
  await h.settle()
  assert.deepEqual(await books(h), { ours: 100, refunds: 1, theirs: 100, theirRefunds: 1 })
})

test('the database itself refuses what goes beyond the charge, whatever code asks for it', async (t) => {
  const h = await house(t)
  const payment = await paymentOf(h, await aPayer(h))
  const asked = await Promise.allSettled(
    Array.from(
      { length: CALLS },
      () => h.sql`
        insert into refunds (id, payment_id, amount_minor, reason, status, by_user)
        values (${randomUUID()}, ${payment}, 150, 'race', 'pending', false)`,
    ),
  )
  const refused = asked.filter((it) => it.status === 'rejected')
  assert.equal(refused.length, CALLS - 6)
  for (const { reason } of refused) assert.equal(reason.constraint_name, 'refunds_within_payment')
})

test('a refund whose answer was lost for longer than Stripe keeps its key is not made twice', async (t) => {
  const h = await house(t, { jobs: false })
  const payment_id = await paymentOf(h, await paidWithoutJobs(h))
  let isCut = false
  h.standin.fault = (method, path) => {
    if (isCut) return 'refuse'
    if (method !== 'POST' || path !== '/v1/refunds') return undefined
    isCut = true
    return 'drop-after'
  }
  const staff = await h.user()
  const asked = await h.call('POST', '/payments/refund', staff, { payment_id, amount: 3, reason: 'part' }, STAFF)
  assert.deepEqual([asked.body.status, (await books(h)).theirs], ['pending', 300])
  h.standin.fault = () => undefined
  await h.days(1.5)
  await h.run('billing.refund', { refund: asked.body.refund_id })
  assert.deepEqual(await books(h), { ours: 300, refunds: 1, theirs: 300, theirRefunds: 1 })
  const read = await h.call('GET', `/payments/refund/${asked.body.refund_id}`, staff, undefined, STAFF)
  assert.equal(read.body.status, 'succeeded')
  const [told] = await h.sql`select count(*)::int as n from billing_notices where key like 'refund:%'`
  assert.equal(told?.n, 1)
})

test('a refund that never reached Stripe is made however late', async (t) => {
  const h = await house(t, { jobs: false })
  const payment_id = await paymentOf(h, await paidWithoutJobs(h))
  h.standin.fault = () => 'refuse'
  const asked = await h.call(
    'POST',
    '/payments/refund',
    await h.user(),
    { payment_id, amount: 3, reason: 'part' },
    STAFF,
  )
  h.standin.fault = () => undefined
  await h.days(1.5)
  await h.run('billing.refund', { refund: asked.body.refund_id })
  assert.deepEqual(await books(h), { ours: 300, refunds: 1, theirs: 300, theirRefunds: 1 })
})

test('of two purchases paid side by side the one that stays can be given back on the own right', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const page = async (plan_id: string): Promise<string> =>
    (await h.call('POST', '/payments/create', user, { plan_id, ...URLS })).body.session_id
  // The first page is to be closed when the second is opened: here both are paid before that.
  h.standin.fault = (_method, path) => (path.endsWith('/expire') ? 'refuse' : undefined)
  const [first, second] = [await page('premium_monthly'), await page('premium_yearly')]
  h.standin.pay(second)
  h.standin.pay(first)
  h.standin.fault = () => undefined
  await h.settle()
  const { data } = (await h.call('GET', '/billing/history', user)).body
  const refund = (id: string) => h.call('POST', '/payments/refund', user, { payment_id: id, reason: 'mine' })
  const standing = data.find(({ status }: { status: string }) => status === 'paid')
  // The other was paid a moment earlier.
  await h.sql`update payments set paid_at = paid_at - interval '1 minute' where id <> ${standing.id}`
  assert.equal((await refund(standing.id)).status, 201)
})
