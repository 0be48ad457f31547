import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { aPayer, house, URLS } from './testing/house.ts'

const admin = { role: 'admin' } as const

test('staff make, change and take plans from sale; running subscriptions keep their price', async (t) => {
  const h = await house(t)
  const staff = await h.user()
  const plan = {
    id: 'team_monthly',
    name: 'Team',
    tier: 'premium',
    billing_period: 'monthly',
    prices: [{ currency: 'EUR', amount: 29.9 }],
    max_devices: 20,
    max_connections: 20,
    streaming_support: true,
    features: ['all_locations'],
    trial_days: 0,
    position: 5,
    is_active: true,
  }
  assert.equal((await h.call('POST', '/admin/plans', staff, plan, { role: 'support' as const })).status < 500, true)
  assert.equal((await h.call('POST', '/admin/plans', staff, { ...plan, id: 'b', prices: [] }, admin)).status, 400)
  for (const amount of [0, -1, 1e9, 9.999, 1e-7])
    assert.equal(
      (await h.call('POST', '/admin/plans', staff, { ...plan, id: 'c', prices: [{ currency: 'USD', amount }] }, admin))
        .status,
      400,
      String(amount),
    )
  await h.call('POST', '/admin/plans', staff, { ...plan, id: 'team_two' }, admin)
  assert.equal((await h.call('POST', '/admin/plans', staff, { ...plan, id: 'team_two' }, admin)).status, 409)

  const user = await aPayer(h)
  const raised = await h.call(
    'PUT',
    '/admin/plans/premium_monthly',
    staff,
    { prices: [{ currency: 'USD', amount: 12 }] },
    admin,
  )
  assert.deepEqual([raised.status, raised.body.price], [200, 12])
  await h.days(32)
  assert.deepEqual(
    (await h.call('GET', '/billing/history', user)).body.data.map(({ amount }: { amount: number }) => amount),
    [9.99, 9.99],
  )
  await aPayer(h)
  assert.equal(h.standin.store.all('charge')[0]?.amount, 1200)

  assert.equal((await h.call('DELETE', '/admin/plans/premium_monthly', staff, undefined, admin)).status, 204)
  const shown = (await h.call('GET', '/subscriptions/plans', null)).body.plans.map(({ id }: { id: string }) => id)
  assert.ok(!shown.includes('premium_monthly'))
  assert.equal((await h.entitlement(user)).plan_id, 'premium_monthly')
  assert.equal((await h.call('DELETE', '/admin/plans/free', staff, undefined, admin)).status, 409)
  assert.equal((await h.call('DELETE', '/admin/plans/none', staff, undefined, admin)).status, 404)
})

test('staff give, extend and end plans, also where billing is off', async (t) => {
  const h = await house(t, { off: true })
  const staff = await h.user()
  const user = await h.user()
  const act = (body: object) => h.call('PUT', `/admin/users/${user}/subscription`, staff, body, admin)
  assert.equal((await act({ action: 'extend', days: 3 })).status, 409)
  const given = await act({ action: 'grant', plan_id: 'premium_yearly', days: 10 })
  assert.deepEqual([given.status, given.body.plan, given.body.auto_renew], [200, 'premium_yearly', false])
  assert.ok(h.changed.includes(user))
  const extended = await act({ action: 'extend', days: 5 })
  assert.equal(new Date(extended.body.end_date).getTime() - new Date(given.body.end_date).getTime(), 5 * 86_400_000)
  assert.equal((await act({ action: 'grant', plan_id: 'premium_monthly', days: 1 })).status, 409)
  assert.equal(
    (await h.call('PUT', `/admin/users/${randomUUID()}/subscription`, staff, { action: 'cancel' }, admin)).status,
    404,
  )
  await h.days(16)
  assert.equal((await h.entitlement(user)).tier, 'free')
  await act({ action: 'grant', plan_id: 'premium_monthly', days: 1 })
  assert.equal((await act({ action: 'cancel' })).body.plan, 'free')
  const [row] =
    await h.sql`select count(*)::int as n from audit_log where action like 'subscription.%' and actor_id = ${staff}`
  assert.equal(row?.n, 4)
})

test('a paid subscription is extended by moving its next payment, and ended at Stripe', async (t) => {
  const h = await house(t)
  const staff = await h.user()
  const user = await aPayer(h)
  const act = (body: object) => h.call('PUT', `/admin/users/${user}/subscription`, staff, body, admin)
  assert.equal((await act({ action: 'grant', plan_id: 'premium_monthly', days: 3 })).status, 409)
  const before = (await h.call('GET', '/subscriptions/status', user)).body
  const after = await act({ action: 'extend', days: 10 })
  assert.deepEqual([after.status, after.body.status], [200, 'active'])
  assert.equal(new Date(after.body.end_date).getTime() - new Date(before.end_date).getTime(), 10 * 86_400_000)
  assert.equal((await act({ action: 'cancel' })).body.plan, 'free')
  assert.deepEqual(
    h.standin.store.all('subscription').map(({ status }) => status),
    ['canceled'],
  )
})

test("staff read anybody's payments, newest first and by the page, and give back by the id they see", async (t) => {
  const h = await house(t)
  const staff = await h.user()
  const user = await aPayer(h)
  await aPayer(h)
  await h.days(32)
  const read = (query = '', who = user, role: 'user' | 'support' = 'support') =>
    h.call('GET', `/admin/users/${who}/payments${query}`, staff, undefined, { role })
  const { status, body } = await read()
  assert.deepEqual([status, body.meta.total, body.data.length], [200, 2, 2])
  assert.deepEqual(body.data, (await h.call('GET', '/billing/history', user)).body.data)
  const [, first] = body.data
  assert.ok(first.created_at < body.data[0].created_at)
  const second = await read('?page=2&per_page=1')
  assert.deepEqual([second.body.data[0].id, second.body.links.next], [first.id, null])
  const given = { payment_id: first.id, amount: 2, reason: 'goodwill' }
  assert.equal((await h.call('POST', '/payments/refund', staff, given, admin)).status, 201)
  await h.settle()
  const [, after] = (await read()).body.data
  assert.deepEqual([after.refunded_amount, after.status], [2, 'partially_refunded'])
  assert.deepEqual((await read('', staff)).body.data, [])
  assert.equal((await read('', randomUUID())).status, 404)
  assert.equal((await read('?per_page=101')).status, 400)
})

test('of 200 who redeem one voucher at once one gets it', async (t) => {
  const h = await house(t, { off: true })
  const staff = await h.user()
  const made = await h.call('POST', '/admin/vouchers', staff, { plan_id: 'premium_monthly', days: 30 }, admin)
  assert.equal(made.status, 201)
  const [code] = made.body.codes
  assert.match(code, /^([2-9A-Z]{5}-){5}[2-9A-Z]{5}$/)
  const users = await Promise.all(Array.from({ length: 200 }, () => h.user()))
  const answers = await Promise.all(
    users.map((user) => h.call('POST', '/subscriptions/redeem', user, { code: code.toLowerCase() })),
  )
  assert.equal(answers.filter(({ status }) => status === 201).length, 1)
  assert.equal(answers.filter(({ status }) => status === 400).length, 199)
  const [row] = await h.sql`select count(*)::int as n from entitlements where tier = 'premium'`
  assert.equal(row?.n, 1)
})

test('one account that redeems one voucher 50 times at once gets its days once; two vouchers add up', async (t) => {
  const h = await house(t, { off: true })
  const staff = await h.user()
  const { body } = await h.call(
    'POST',
    '/admin/vouchers',
    staff,
    { plan_id: 'premium_monthly', days: 30, count: 2 },
    admin,
  )
  const user = await h.user()
  const redeem = (code: string) => h.call('POST', '/subscriptions/redeem', user, { code })
  await Promise.all(Array.from({ length: 50 }, () => redeem(body.codes[0])))
  const daysLeft = async () =>
    (new Date((await h.call('GET', '/subscriptions/status', user)).body.end_date).getTime() - h.clock.now()) /
    86_400_000
  assert.equal(Math.round(await daysLeft()), 30)
  assert.equal((await redeem(body.codes[1])).status, 201)
  assert.equal(Math.round(await daysLeft()), 60)
  assert.equal((await redeem(body.codes[1])).status, 400)
  const listed = await h.call('GET', '/admin/vouchers', staff, undefined, admin)
  assert.deepEqual([listed.body.meta.total, JSON.stringify(listed.body).includes(body.codes[0])], [2, false])
})

test('revenue is told by currency and plan, with churn', async (t) => {
  const h = await house(t)
  const staff = await h.user()
  await aPayer(h)
  const leaver = await aPayer(h)
  await aPayer(h, 'premium_yearly')
  await h.days(20)
  await h.call('PUT', '/subscriptions/cancel', leaver)
  await h.days(12)
  const { status, body } = await h.call('GET', '/admin/revenue?days=30', staff, undefined, admin)
  assert.equal(status, 200)
  const [usd] = body.currencies
  assert.equal(usd.mrr, Number((9.99 + 79.99 / 12).toFixed(2)))
  assert.equal(usd.revenue, 9.99)
  assert.deepEqual(body.subscribers, { active: 2, trialing: 0, past_due: 0, granted: 0 })
  assert.deepEqual(body.churn, { ended: 1, at_start: 3, rate: 1 / 3 })
})

test('a paid subscription that staff extended is still a paid one', async (t) => {
  const h = await house(t)
  const staff = await h.user()
  const user = await aPayer(h)
  await h.call('PUT', `/admin/users/${user}/subscription`, staff, { action: 'extend', days: 7 }, admin)
  await h.call('PUT', '/admin/plans/premium_yearly', staff, { trial_days: 5 }, admin)
  await aPayer(h, 'premium_yearly')
  const { body } = await h.call('GET', '/admin/revenue', staff, undefined, admin)
  assert.deepEqual(body.subscribers, { active: 1, trialing: 1, past_due: 0, granted: 0 })
  assert.equal(body.currencies[0].mrr, 9.99)
})

test('an erased account pays no more, and its payments join to nobody', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  await h.owner`delete from users where id = ${user}`
  await h.settle()
  assert.deepEqual(
    h.standin.store.all('subscription').map(({ status }) => status),
    ['canceled'],
  )
  const [row] = await h.sql`
    select c.user_id, c.delete_after is not null as dated from payments p join billing_customers c on c.id = p.customer_id`
  assert.deepEqual({ ...row }, { user_id: null, dated: true })
})

test('what missed webhooks left is repaired by the comparison, and told', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const { body } = await h.call('POST', '/payments/create', user, { plan_id: 'premium_monthly', ...URLS })
  h.standin.delivery.lost = true
  h.standin.pay(body.session_id)
  await h.settle()
  assert.equal((await h.entitlement(user)).tier, 'free')
  assert.deepEqual(await h.billing.reconcile(), { read: 1, repaired: 1, failed: 0 })
  assert.equal((await h.entitlement(user)).tier, 'premium')
  assert.deepEqual(await h.billing.reconcile(), { read: 1, repaired: 0, failed: 0 })
  const [entry] = await h.sql`select fields from audit_log where action = 'billing.repaired'`
  assert.deepEqual(entry?.fields, ['new'])
})
