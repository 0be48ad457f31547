import assert from 'node:assert/strict'
import { test } from 'node:test'
import { aPayer, house, type House } from './testing/house.ts'

type Shown = { id: string; amount: number; refunded_amount: number }
const paymentsOf = async (h: House, user: string): Promise<Shown[]> =>
  (await h.call('GET', '/billing/history', user)).body.data
const changeTo = async (h: House, user: string, plan_id: string) => {
  const changed = await h.call('PUT', '/subscriptions/change', user, { plan_id })
  assert.equal(changed.status, 200)
  await h.settle()
}
const refund = async (
  h: House,
  user: string,
  payment_id: string,
  more: object = {},
  role: 'user' | 'admin' = 'user',
) => {
  const answer = await h.call('POST', '/payments/refund', user, { payment_id, reason: 'x', ...more }, { role })
  await h.settle()
  return answer
}
/** Minor units on the only customer's balance; below zero is credit. */
const balanceOf = (h: House): number | undefined => h.standin.store.all('customer')[0]?.balance

test('a payment that a cheaper plan turned into credit is not given back on the own right', async (t) => {
  const h = await house(t)
  const user = await aPayer(h, 'premium_yearly')
  await changeTo(h, user, 'premium_monthly')
  assert.equal(balanceOf(h), -7000)
  const [payment] = await paymentsOf(h, user)
  assert.equal((await refund(h, user, payment?.id ?? '')).status, 403)
  assert.equal((await paymentsOf(h, user))[0]?.refunded_amount, 0)
})

test('the first payment is not given back on the own right once a dearer plan was paid on top of it', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  await h.days(1)
  await changeTo(h, user, 'premium_yearly')
  for (const { id } of await paymentsOf(h, user)) assert.equal((await refund(h, user, id)).status, 403)
  assert.equal((await h.entitlement(user)).plan_id, 'premium_yearly')
})

test('staff give back the whole of a payment, and the credit it had become goes with it', async (t) => {
  const h = await house(t)
  const user = await aPayer(h, 'premium_yearly')
  await changeTo(h, user, 'premium_monthly')
  const staff = await h.user()
  const [payment] = await paymentsOf(h, user)
  const part = await refund(h, staff, payment?.id ?? '', { amount: 9 }, 'admin')
  assert.deepEqual([part.status, balanceOf(h)], [201, -7000], 'what is left of the payment covers the credit')
  const rest = await refund(h, staff, payment?.id ?? '', {}, 'admin')
  assert.deepEqual([rest.status, rest.body.amount, rest.body.status, balanceOf(h)], [201, 70.99, 'succeeded', 0])
  assert.equal((await h.entitlement(user)).tier, 'free')
})

test('credit that came from elsewhere stays when a payment is given back', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  const [customer] = h.standin.store.all('customer')
  if (customer) customer.balance = -500
  const staff = await h.user()
  const [payment] = await paymentsOf(h, user)
  assert.equal((await refund(h, staff, payment?.id ?? '', {}, 'admin')).status, 201)
  assert.equal(balanceOf(h), -500)
})

test('a refund that is refused leaves the credit where it was', async (t) => {
  const h = await house(t)
  const user = await aPayer(h, 'premium_yearly')
  await changeTo(h, user, 'premium_monthly')
  const [payment] = await paymentsOf(h, user)
  // Refunded at Stripe's own pages a moment ago; we have not heard of it.
  const [charge] = h.standin.store.all('charge')
  if (charge) charge.amount_refunded = charge.amount
  const answer = await refund(h, await h.user(), payment?.id ?? '', {}, 'admin')
  assert.deepEqual([answer.body.status, balanceOf(h)], ['failed', -7000])
})

test('credit pays the next invoices before the card does', async (t) => {
  const h = await house(t)
  const user = await aPayer(h, 'premium_yearly')
  await changeTo(h, user, 'premium_monthly')
  await h.days(32)
  assert.equal((await h.entitlement(user)).plan_id, 'premium_monthly')
  assert.equal(balanceOf(h), -7000 + 999)
  assert.equal((await paymentsOf(h, user)).length, 1)
})

test('while an own refund is under way the plan cannot be changed', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  const [payment] = await paymentsOf(h, user)
  h.standin.fault = (method, path) => (method === 'POST' && path === '/v1/refunds' ? 'refuse' : undefined)
  const asked = await h.call('POST', '/payments/refund', user, { payment_id: payment?.id, reason: 'x' })
  assert.equal(asked.body.status, 'pending')
  assert.equal((await h.call('PUT', '/subscriptions/change', user, { plan_id: 'premium_yearly' })).status, 409)
})

test('a plan that was changed between the wish for a refund and the refund keeps its money', async (t) => {
  const h = await house(t)
  const user = await aPayer(h, 'premium_yearly')
  const [payment] = await paymentsOf(h, user)
  h.standin.fault = (method, path) => (method === 'POST' && path === '/v1/refunds' ? 'refuse' : undefined)
  const asked = await h.call('POST', '/payments/refund', user, { payment_id: payment?.id, reason: 'x' })
  await h.owner`delete from graphile_worker._private_jobs`
  // As if the change had been on its way to Stripe already.
  await h.sql`update refunds set by_user = false`
  await changeTo(h, user, 'premium_monthly')
  await h.sql`update refunds set by_user = true`
  h.standin.fault = () => undefined
  await h.run('billing.refund', { refund: asked.body.refund_id })
  assert.equal((await h.call('GET', `/payments/refund/${asked.body.refund_id}`, user)).body.status, 'failed')
  assert.equal(h.standin.store.all('refund').length, 0)
})

test('credit that a lost try of a refund took comes back when a later try is refused', async (t) => {
  const h = await house(t)
  const user = await aPayer(h, 'premium_yearly')
  await changeTo(h, user, 'premium_monthly')
  const [payment] = await paymentsOf(h, user)
  h.standin.fault = (method, path) => (method === 'POST' && path === '/v1/refunds' ? 'refuse' : undefined)
  const body = { payment_id: payment?.id, reason: 'x' }
  const asked = await h.call('POST', '/payments/refund', await h.user(), body, { role: 'admin' })
  assert.deepEqual([asked.body.status, balanceOf(h)], ['pending', 0])
  await h.owner`delete from graphile_worker._private_jobs`
  h.standin.fault = () => undefined
  const charge = h.standin.store.all('charge').find(({ amount }) => amount === 7999)
  if (charge) charge.amount_refunded = charge.amount
  await h.run('billing.refund', { refund: asked.body.refund_id })
  const [row] = await h.sql`select status from refunds where id = ${asked.body.refund_id}`
  assert.deepEqual([row?.status, balanceOf(h)], ['failed', -7000])
})

/** Takes all work from the queue, once nobody works on it. */
async function dropJobs(h: House): Promise<void> {
  for (let left = 1; left > 0;) {
    await h.owner`delete from graphile_worker._private_jobs where locked_at is null`
    left = (await h.owner`select from graphile_worker._private_jobs`).length
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

/** Staff's refund of a yearly payment that a cheaper plan turned into credit, whose taking of the credit meets a fault. */
async function creditMeets(h: House, fault: 'refuse' | 'drop-after') {
  const user = await aPayer(h, 'premium_yearly')
  await changeTo(h, user, 'premium_monthly')
  const [payment] = await paymentsOf(h, user)
  h.standin.fault = (method, path) => {
    if (method !== 'POST') return undefined
    // Whoever hears of the credit beside us, as the job does, must not get past it.
    return path.endsWith('/balance_transactions') ? fault : path === '/v1/refunds' ? 'refuse' : undefined
  }
  const body = { payment_id: payment?.id, reason: 'x' }
  const asked = await h.call('POST', '/payments/refund', await h.user(), body, { role: 'admin' })
  assert.equal(asked.body.status, 'pending')
  await dropJobs(h)
  h.standin.fault = () => undefined
  return {
    async again() {
      await h.run('billing.refund', { refund: asked.body.refund_id })
      const [row] = await h.sql`select status, credit_minor from refunds where id = ${asked.body.refund_id}`
      return [row?.status, row?.credit_minor, balanceOf(h)]
    },
  }
}
/** Longer than Stripe remembers a key. */
const forgetKeys = (h: House) => {
  h.wait(2)
  h.standin.advance(2 * 86_400)
}

test('credit that invoices used before it could be taken is not taken, so that nobody owes', async (t) => {
  const h = await house(t)
  const refund = await creditMeets(h, 'refuse')
  const [customer] = h.standin.store.all('customer')
  if (customer) customer.balance = -1000
  assert.deepEqual(await refund.again(), ['succeeded', 1000, 0])
})

test('credit that was noted and never taken is taken by a later try, however late', async (t) => {
  const h = await house(t)
  const refund = await creditMeets(h, 'refuse')
  forgetKeys(h)
  assert.deepEqual(await refund.again(), ['succeeded', 7000, 0])
})

test('credit whose taking was not heard of is not taken again once its key is forgotten', async (t) => {
  const h = await house(t)
  const refund = await creditMeets(h, 'drop-after')
  assert.equal(balanceOf(h), 0)
  forgetKeys(h)
  const [customer] = h.standin.store.all('customer')
  if (customer) customer.balance = -7000
  assert.deepEqual(await refund.again(), ['succeeded', 7000, -7000], 'what came since is from elsewhere')
})

test('credit is given back once, though the refusal of its refund is heard of twice', async (t) => {
  const h = await house(t)
  const refund = await creditMeets(h, 'drop-after')
  const charge = h.standin.store.all('charge').find(({ amount }) => amount === 7999)
  if (charge) charge.amount_refunded = charge.amount
  assert.deepEqual(await refund.again(), ['failed', 7000, -7000])
  // The instance died before it could write the refusal down.
  await h.sql`update refunds set status = 'pending'`
  forgetKeys(h)
  await h.sql`update refunds set created_at = created_at - interval '2 days'`
  const [status, , balance] = await refund.again()
  assert.deepEqual([status, balance], ['failed', -7000])
})
