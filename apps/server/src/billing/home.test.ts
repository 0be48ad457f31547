import assert from 'node:assert/strict'
import { test } from 'node:test'
import { emptyState, type State } from './standin/store.ts'
import { aPayer, house, type House } from './testing/house.ts'

const admin = { role: 'admin' } as const

type Account = { key: string; state: State }
const another = (key = 'sk_test_of_another_account'): Account => ({ key, state: emptyState(0) })
const presentOf = ({ standin }: House): Account => ({ key: standin.apiKey, state: standin.store.state })

/** The operator goes over to another account. @returns the one before */
async function moveTo(h: House, account: Account): Promise<Account> {
  const before = presentOf(h)
  await h.restart(account)
  await h.billing.move()
  await opened(h)
  await h.settle()
  return before
}
/** Until the service has looked at its home again. */
async function opened(h: House): Promise<void> {
  for (let tries = 0; !h.billing.enabled(); tries++) {
    assert.ok(tries < 100, 'billing does not open')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
const statusOf = async (h: House, user: string) => (await h.call('GET', '/subscriptions/status', user)).body
const buy = (h: House, user: string) =>
  h.call('POST', '/subscriptions/subscribe', user, {
    plan_id: 'premium_monthly',
    payment_method_id: h.standin.card(),
  })
const idsOf = async (h: House, user: string) => ({
  prices: [...(await h.sql`select id, stripe_price_id from plan_prices where stripe_price_id is not null order by id`)],
  customers: [...(await h.sql`select id, stripe_customer_id from billing_customers where user_id = ${user}`)],
})

test('with the key of another account billing stays off and changes nothing, however often it starts', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  const [before, ids, right] = [await statusOf(h, user), await idsOf(h, user), presentOf(h)]
  const wrong = another()
  // At the first start it cannot even be asked.
  h.standin.fault = () => 'refuse'
  await h.restart(wrong)
  h.standin.fault = () => undefined
  for (let start = 0; start < 2; start++) {
    assert.equal(h.billing.enabled(), false)
    assert.equal((await buy(h, await h.user())).status, 503)
    await h.restart()
  }
  assert.deepEqual(await statusOf(h, user), before)
  assert.deepEqual(await idsOf(h, user), ids)
  for (const kind of ['customer', 'price', 'subscription'] as const) assert.deepEqual(h.standin.store.all(kind), [])
  await h.restart(right)
  assert.equal(h.billing.enabled(), true)
  assert.deepEqual(await statusOf(h, user), before)
  assert.equal((await buy(h, user)).status, 409)
})

test('a new key of the same account is known by what it can read, as soon as Stripe answers', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  const before = await statusOf(h, user)
  h.standin.fault = () => 'refuse'
  await h.restart({ key: 'sk_test_rolled', state: h.standin.store.state })
  assert.equal(h.billing.enabled(), false)
  h.standin.fault = () => undefined
  await opened(h)
  assert.deepEqual(await statusOf(h, user), before)
})

test('a restart with the same key asks nobody, so that a Stripe that is away switches nothing off', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  const before = await statusOf(h, user)
  h.standin.fault = () => 'refuse'
  await h.restart()
  assert.equal(h.billing.enabled(), true)
  assert.deepEqual(await statusOf(h, user), before)
})

test('where nobody is a customer yet another key is taken without asking', async (t) => {
  const h = await house(t)
  await h.billing.syncPlans()
  await h.restart(another())
  assert.equal((await buy(h, await h.user())).status, 201)
})

test('the commands of an operator refuse the key of another account', async (t) => {
  const h = await house(t)
  await aPayer(h)
  await h.restart(another())
  for (const work of [() => h.billing.syncPlans(), () => h.billing.reconcile()])
    await assert.rejects(work, /prime billing move/)
  assert.deepEqual([h.billing.enabled(), h.standin.store.all('price')], [false, []])
})

test('an instance whose home was left for another one goes off, and does not go back by itself', async (t) => {
  const h = await house(t)
  await aPayer(h)
  await h.sql.begin(async (tx) => {
    await tx`update billing_home set key_mark = 'of another key', id = 'another home'`
    await tx`insert into billing_ids_aside (home, stripe_id, customer_id)
              select 'before', stripe_customer_id, id from billing_customers`
    await tx`update billing_customers set stripe_customer_id = null`
    await tx`update plan_prices set stripe_price_id = null`
  })
  for (let tries = 0; h.billing.enabled(); tries++) {
    assert.ok(tries < 100, 'billing does not go off')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.equal(h.billing.enabled(), false)
  assert.equal((await h.sql`select id from billing_home`)[0]?.id, 'another home')
})

test('moved to another account of Stripe everybody can buy there, also who was a customer of the one before', async (t) => {
  const h = await house(t)
  const [paid, gone, fresh] = [await aPayer(h), await aPayer(h), await h.user()]
  const staff = await h.user()
  await h.call('PUT', `/admin/users/${gone}/subscription`, staff, { action: 'cancel' }, admin)
  const { end_date } = await statusOf(h, paid)
  await moveTo(h, another())
  for (const user of [fresh, gone]) {
    const bought = await buy(h, user)
    assert.deepEqual([bought.status, bought.body.status], [201, 'active'])
  }
  assert.equal(h.standin.store.all('subscription').length, 2)
  // What was paid for at the old one still counts, and then makes room.
  const now = await statusOf(h, paid)
  assert.deepEqual([now.plan, now.end_date, now.auto_renew], ['premium_monthly', end_date, false])
  await h.days(32)
  assert.equal((await h.entitlement(paid)).tier, 'free')
  assert.equal((await buy(h, paid)).status, 201)
})

test('moved back to the account before, also with a rolled key, its ids and what stands there count again', async (t) => {
  const h = await house(t)
  const [user, fresh] = [await aPayer(h), await h.user()]
  const before = await statusOf(h, user)
  const known = await idsOf(h, user)
  const old = await moveTo(h, another())
  assert.equal((await buy(h, fresh)).status, 201)
  await moveTo(h, { ...old, key: 'sk_test_rolled' })
  assert.deepEqual(await idsOf(h, user), known)
  assert.deepEqual(await statusOf(h, user), before)
  const [aside] = await h.sql`select count(*)::int as n from billing_ids_aside`
  assert.equal(aside?.n, 2)
})

test('staff can end a plan that was paid at another account of Stripe', async (t) => {
  const h = await house(t)
  const [user, staff] = [await aPayer(h), await h.user()]
  await moveTo(h, another())
  const act = () => h.call('PUT', `/admin/users/${user}/subscription`, staff, { action: 'cancel' }, admin)
  assert.deepEqual([(await act()).body.plan, (await h.entitlement(user)).tier], ['free', 'free'])
  assert.equal((await buy(h, user)).status, 201)
})

test('an account that was erased while its Stripe was not in use is forgotten there once it is', async (t) => {
  const h = await house(t)
  const [once, twice] = [await aPayer(h), await aPayer(h)]
  const old = await moveTo(h, another())
  await h.call('PUT', `/admin/users/${twice}/subscription`, await h.user(), { action: 'cancel' }, admin)
  assert.equal((await buy(h, twice)).status, 201)
  await h.sql`delete from users where id in ${h.sql([once, twice])}`
  await h.settle()
  assert.deepEqual(h.standin.store.all('customer'), [])
  await h.run('billing.sweep')
  await moveTo(h, old)
  assert.deepEqual(h.standin.store.all('customer'), [])
  assert.ok(h.standin.store.all('subscription').every(({ status }) => status === 'canceled'))
  await h.run('billing.sweep')
  const left = await h.sql`select c.id from billing_customers c`
  assert.deepEqual([...left], [])
})

test('back at the account before, what runs there takes the place of what ran out meanwhile', async (t) => {
  const h = await house(t)
  const [user, staff] = [await aPayer(h), await h.user()]
  const old = await moveTo(h, another())
  await h.call('PUT', `/admin/users/${user}/subscription`, staff, { action: 'cancel' }, admin)
  assert.equal((await buy(h, user)).status, 201)
  await moveTo(h, old)
  const rows = await h.sql`
    select s.status, s.auto_renew, s.ended_at is not null as ended from subscriptions s where user_id = ${user} order by s.created_at`
  assert.deepEqual(
    rows.map(({ status, auto_renew, ended }) => [status, auto_renew, ended]),
    [
      ['active', true, false],
      ['canceled', false, true],
    ],
  )
  assert.equal((await h.entitlement(user)).tier, 'premium')
})

/** What time brings about at an account that is not in use; we hear nothing of it. */
function passTimeAt(h: House, account: Account): void {
  const { store, delivery } = h.standin
  const present = store.state
  delivery.lost = true
  store.state = account.state
  h.standin.advance(present.now - store.state.now)
  account.state = store.state
  store.state = present
  delivery.lost = false
}

test('a plan that was paid at the other account is not given up for one that lapsed at this one', async (t) => {
  const h = await house(t)
  const [user, staff] = [await aPayer(h), await h.user()]
  const bad = { payment_method_id: 'pm_card_chargeCustomerFail' }
  assert.equal((await h.call('PUT', '/billing/payment-method', user, bad)).status, 200)
  await h.days(25)
  const old = await moveTo(h, another())
  await h.call('PUT', `/admin/users/${user}/subscription`, staff, { action: 'cancel' }, admin)
  assert.equal((await buy(h, user)).status, 201)
  const { end_date } = await statusOf(h, user)
  await h.days(10)
  passTimeAt(h, old)
  await moveTo(h, old)
  const statuses = h.standin.store.all('subscription').map(({ status }) => status)
  assert.deepEqual(statuses, ['past_due'], 'its grace is over, Stripe still tries')
  await h.run('billing.reconcile')
  const now = await statusOf(h, user)
  assert.deepEqual([now.plan, now.end_date, now.status], ['premium_monthly', end_date, 'active'])
  assert.equal((await h.entitlement(user)).tier, 'premium')
  const events = await h.sql`select from billing_events where applied_at is null`
  assert.equal(events.length, 0)
  // What is paid there after all is the plan again.
  const { behaviours } = h.standin.store.state
  for (const method of Object.keys(behaviours)) behaviours[method] = 'pays'
  await h.days(2.5)
  const rows = await h.sql`select status, auto_renew from subscriptions where user_id = ${user} order by created_at`
  assert.deepEqual(
    rows.map(({ status, auto_renew }) => [status, auto_renew]),
    [
      ['active', true],
      ['canceled', false],
    ],
  )
})

test('back at the account before, who was charged there meanwhile has his plan again, however long ago he paid before', async (t) => {
  const h = await house(t)
  const user = await aPayer(h, 'premium_yearly')
  const pass = (days: number) => (h.wait(days), h.standin.advance(days * 86_400))
  pass(350)
  // As old for the database, whose clock is behind, as they are.
  await h.sql`update billing_orders set created_at = now() - interval '80 days'`
  await h.sql`update payments set paid_at = now() - interval '350 days'`
  const old = await moveTo(h, another())
  pass(20)
  await h.run('billing.lifecycle')
  assert.equal((await h.entitlement(user)).tier, 'free')
  passTimeAt(h, old)
  await moveTo(h, old)
  assert.equal(h.standin.store.all('charge').length, 2)
  assert.deepEqual([(await statusOf(h, user)).plan, (await h.entitlement(user)).tier], ['premium_yearly', 'premium'])
})

test('a payment that was made at the account before is not refunded while another one is used', async (t) => {
  const h = await house(t)
  const [user, staff] = [await aPayer(h), await h.user()]
  const [payment] = (await h.call('GET', '/billing/history', user)).body.data
  const body = { payment_id: payment.id, reason: 'x' }
  const old = await moveTo(h, another())
  assert.equal((await h.call('POST', '/payments/refund', user, body)).status, 409)
  assert.equal((await h.call('POST', '/payments/refund', staff, body, admin)).status, 409)
  assert.equal((await h.sql`select from refunds`).length, 0)
  await moveTo(h, old)
  const refunded = await h.call('POST', '/payments/refund', staff, body, admin)
  assert.deepEqual([refunded.status, refunded.body.status], [201, 'succeeded'])
})
