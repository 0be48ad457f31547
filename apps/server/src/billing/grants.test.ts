import assert from 'node:assert/strict'
import { test } from 'node:test'
import { aPayer, house, type House } from './testing/house.ts'

const admin = { role: 'admin' } as const
const act = (h: House, staff: string, user: string, body: object) =>
  h.call('PUT', `/admin/users/${user}/subscription`, staff, body, admin)
const takeFromSale = async (h: House, staff: string, plan: string) =>
  assert.equal((await h.call('DELETE', `/admin/plans/${plan}`, staff, undefined, admin)).status, 204)
const refuseAudit = (h: House) =>
  h.owner.unsafe(`
    create function no_more() returns trigger language plpgsql as $$ begin raise exception 'the log is full'; end $$;
    create trigger no_more before insert on audit_log for each row execute function no_more()`)

test('a plan that is no longer sold is not given anew, but a voucher of it and days on top of it count', async (t) => {
  const h = await house(t, { off: true })
  const staff = await h.user()
  const [granted, holder, other] = [await h.user(), await h.user(), await h.user()]
  const made = await h.call('POST', '/admin/vouchers', staff, { plan_id: 'premium_monthly', days: 30 }, admin)
  await act(h, staff, granted, { action: 'grant', plan_id: 'premium_monthly', days: 3 })
  await takeFromSale(h, staff, 'premium_monthly')
  const redeemed = await h.call('POST', '/subscriptions/redeem', holder, { code: made.body.codes[0] })
  assert.deepEqual([redeemed.status, (await h.entitlement(holder)).plan_id], [201, 'premium_monthly'])
  assert.equal((await act(h, staff, granted, { action: 'extend', days: 4 })).status, 200)
  const anew = await act(h, staff, other, { action: 'grant', plan_id: 'premium_monthly', days: 3 })
  assert.deepEqual([anew.status, anew.body.error.details[0].field], [400, 'plan_id'])
})

test('what cannot be written to the audit log is not done: a given plan', async (t) => {
  const h = await house(t, { off: true })
  const staff = await h.user()
  const [user, other] = [await h.user(), await h.user()]
  await act(h, staff, user, { action: 'grant', plan_id: 'premium_monthly', days: 3 })
  const before = await h.entitlement(user)
  await refuseAudit(h)
  assert.equal((await act(h, staff, other, { action: 'grant', plan_id: 'premium_monthly', days: 3 })).status, 500)
  assert.equal((await act(h, staff, user, { action: 'extend', days: 3 })).status, 500)
  assert.equal((await act(h, staff, user, { action: 'cancel' })).status, 500)
  assert.deepEqual(await h.entitlement(user), before)
  assert.equal((await h.entitlement(other)).tier, 'free')
})

test('what cannot be written to the audit log is not done: a paid subscription', async (t) => {
  const h = await house(t)
  const staff = await h.user()
  const user = await aPayer(h)
  const before = structuredClone(h.standin.store.all('subscription'))
  await refuseAudit(h)
  assert.equal((await act(h, staff, user, { action: 'extend', days: 3 })).status, 500)
  assert.equal((await act(h, staff, user, { action: 'cancel' })).status, 500)
  assert.deepEqual(h.standin.store.all('subscription'), before)
})

test('a paid subscription is not extended beyond what Stripe takes, nor while it is cancelled', async (t) => {
  const h = await house(t)
  const [user, staff] = [await aPayer(h), await h.user()]
  const extend = (days: number) => act(h, staff, user, { action: 'extend', days })
  const far = await extend(720)
  assert.deepEqual([far.status, far.body.error.details[0].field], [400, 'days'])
  assert.equal((await extend(690)).status, 200)
  assert.equal((await h.call('PUT', '/subscriptions/cancel', user)).status, 200)
  const before = (await h.call('GET', '/subscriptions/status', user)).body
  assert.equal((await extend(1)).status, 409)
  assert.deepEqual((await h.call('GET', '/subscriptions/status', user)).body, before)
})

test('days that would move the next payment into the past are refused by name', async (t) => {
  const h = await house(t)
  const [user, staff] = [await aPayer(h), await h.user()]
  // Stripe has renewed it two periods ago, and we have heard of neither.
  h.standin.delivery.lost = true
  h.wait(70)
  h.standin.advance(70 * 86_400)
  const answer = await act(h, staff, user, { action: 'extend', days: 1 })
  assert.deepEqual([answer.status, answer.body.error.details?.[0].field], [400, 'days'])
})
