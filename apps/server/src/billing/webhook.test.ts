import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { test } from 'node:test'
import { signatureOf } from './standin/index.ts'
import { aPayer, house, type House } from './testing/house.ts'
import { isSigned } from './webhook.ts'

const seconds = (h: House): number => Math.floor(h.clock.now() / 1000)
const anEvent = (more: object = {}) =>
  JSON.stringify({
    id: 'evt_1',
    object: 'event',
    type: 'invoice.paid',
    created: 1_900_000_000,
    livemode: false,
    data: { object: { id: 'in_1', object: 'invoice', customer: 'cus_stranger' } },
    ...more,
  })
async function post(h: House, body: string, signature: string | undefined, headers: Record<string, string> = {}) {
  const answer = await h.app.inject({
    method: 'POST',
    url: '/api/v1/payments/webhook',
    headers: {
      'content-type': 'application/json; charset=utf-8',
      ...(signature === undefined ? {} : { 'stripe-signature': signature }),
      ...headers,
    },
    payload: body,
  })
  return { status: answer.statusCode, body: answer.json() }
}
const stored = async (h: House): Promise<string[]> =>
  (await h.sql<{ id: string }[]>`select id from billing_events order by id`).map(({ id }) => id)

test('an event with a good signature is stored once, however often it comes', async (t) => {
  const h = await house(t)
  const body = anEvent()
  for (let n = 0; n < 3; n++) {
    const answer = await post(h, body, signatureOf(body, h.standin.webhookSecret, seconds(h)))
    assert.deepEqual([answer.status, answer.body], [200, { received: true }])
  }
  const old = await post(
    h,
    anEvent({ id: 'evt_2' }),
    signatureOf(anEvent({ id: 'evt_2' }), 'whsec_old_and_rotated_out_soon', seconds(h)),
  )
  assert.equal(old.status, 200)
  assert.deepEqual(await stored(h), ['evt_1', 'evt_2'])
  await h.settle()
  const open = await h.sql`select id from billing_events where applied_at is null`
  assert.equal(open.length, 0)
})

test('forged, stale, early and changed events are refused, and each counts as an attempt', async (t) => {
  const h = await house(t)
  const body = anEvent()
  const now = seconds(h)
  const good = signatureOf(body, h.standin.webhookSecret, now)
  const mac = (secret: string) => `t=${now},v1=${createHmac('sha256', secret).update(`${now}.${body}`).digest('hex')}`
  const bad: [string, string][] = [
    [body, mac('')],
    [body, mac('whsec_')],
    [body, mac('undefined')],
    [body, signatureOf(body, h.standin.webhookSecret, now - 400)],
    [body, signatureOf(body, h.standin.webhookSecret, now + 400)],
    [body, good.replace('v1=', 'v0=')],
    [body, `t=${now}`],
    [body, ''],
    [body, 'v1=abc'],
    [body.replace('invoice.paid', 'invoice.void'), good],
    [`${body} `, good],
  ]
  for (const [text, signature] of bad) {
    const answer = await post(h, text, signature)
    assert.deepEqual([answer.status, answer.body.error.code], [400, 'INVALID_INPUT'], signature)
  }
  assert.equal(h.badSignatures, bad.length)
  assert.deepEqual(await stored(h), [])
})

test('without a signature the body is not read', async (t) => {
  const h = await house(t)
  const answer = await post(h, 'x'.repeat(600_000), undefined)
  assert.deepEqual([answer.status, answer.body.error.details[0].field], [400, 'stripe-signature'])
  const large = 'x'.repeat(600_000)
  assert.equal((await post(h, large, signatureOf(large, h.standin.webhookSecret, seconds(h)))).status, 413)
  const fits = anEvent({ padding: 'x'.repeat(400_000) })
  assert.equal((await post(h, fits, signatureOf(fits, h.standin.webhookSecret, seconds(h)))).status, 200)
})

test('events of the live mode, of unknown types and without sense change nothing', async (t) => {
  const h = await house(t)
  for (const [body, status] of [
    [anEvent({ livemode: true }), 200],
    [anEvent({ type: 'future.thing' }), 200],
    [anEvent({ data: {} }), 400],
    ['[]', 400],
    ['not json', 400],
  ] as const) {
    assert.equal((await post(h, body, signatureOf(body, h.standin.webhookSecret, seconds(h)))).status, status, body)
  }
  assert.deepEqual(await stored(h), [])
})

test('an old event that is signed anew brings nothing back', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  const old = h.standin.events
    .filter(({ type }) => /^(invoice|customer\.subscription|checkout)/.test(type))
    .map((it) => structuredClone(it))
  const [charge] = h.standin.store.all('charge')
  h.standin.dispute(charge?.id ?? '')
  await h.settle()
  for (const [index, event] of old.entries()) {
    const body = JSON.stringify({ ...event, id: `evt_again_${index}` })
    assert.equal((await post(h, body, signatureOf(body, h.standin.webhookSecret, seconds(h)))).status, 200)
  }
  await h.settle()
  assert.equal((await h.entitlement(user)).tier, 'free')
})

test('no secret is 503, and billing switched off is 503 everywhere but for plans and status', async (t) => {
  const h = await house(t, { off: true })
  const body = anEvent()
  assert.equal((await post(h, body, signatureOf(body, 'whsec_x', seconds(h)))).status, 503)
  assert.equal((await post(h, body, undefined)).status, 400)
  const user = await h.user()
  const urls = { success_url: 'https://vpn.example.com/', cancel_url: 'https://vpn.example.com/' }
  const calls: ['GET' | 'POST' | 'PUT', string, object?][] = [
    ['POST', '/subscriptions/subscribe', { plan_id: 'premium_monthly' }],
    ['PUT', '/subscriptions/cancel'],
    ['PUT', '/subscriptions/resume'],
    ['PUT', '/subscriptions/change', { plan_id: 'premium_yearly' }],
    ['POST', '/payments/create', { plan_id: 'premium_monthly', currency: 'USD', ...urls }],
    ['POST', '/payments/create-intent', { plan_id: 'premium_monthly' }],
    ['POST', '/payments/confirm', { payment_intent_id: 'pi_1' }],
    ['POST', '/payments/refund', { payment_id: user, reason: 'x' }],
    ['GET', `/payments/refund/${user}`],
    ['GET', '/billing/history'],
    ['GET', `/billing/invoices/${user}`],
    ['PUT', '/billing/payment-method'],
    ['POST', '/billing/portal'],
  ]
  for (const [method, path, given] of calls) {
    const answer = await h.call(method, path, user, given)
    assert.deepEqual([answer.status, answer.body.error.code], [503, 'UNAVAILABLE'], path)
  }
  assert.equal((await h.call('GET', '/subscriptions/plans', null)).body.billing_enabled, false)
  assert.equal((await h.call('GET', '/subscriptions/status', user)).body.plan, 'free')
})

test('an empty secret verifies nothing, even if it were configured', () => {
  const now = 1_900_000_000
  const body = anEvent()
  for (const secret of ['', ' '])
    assert.equal(isSigned(body, signatureOf(body, secret, now), [secret], now * 1000), false)
  assert.equal(isSigned(body, signatureOf(body, 'whsec_a', now), ['whsec_b', 'whsec_a'], now * 1000), true)
})
