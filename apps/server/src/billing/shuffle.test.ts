import assert from 'node:assert/strict'
import { test } from 'node:test'
import { signatureOf } from './standin/index.ts'
import type { StripeEvent } from './standin/types.ts'
import { house, URLS, type House } from './testing/house.ts'

/** A small seeded generator (mulberry32), so that a failure can be seen again. */
function seeded(seed: number): () => number {
  let a = seed
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** Some of the events lost, some twice or three times, all in another order. */
function mangled(events: readonly StripeEvent[], random: () => number): StripeEvent[] {
  return events
    .flatMap((event) => (random() < 0.3 ? [] : random() < 0.3 ? [event, event, event] : [event]))
    .map((event) => ({ event, place: random() }))
    .toSorted((a, b) => a.place - b.place)
    .map(({ event }) => event)
}

async function deliver(h: House, events: readonly StripeEvent[]): Promise<void> {
  for (const event of events) {
    const body = JSON.stringify(event)
    const signature = signatureOf(body, h.standin.webhookSecret, Math.floor(h.clock.now() / 1000))
    const answer = await h.app.inject({
      method: 'POST',
      url: '/api/v1/payments/webhook',
      headers: { 'content-type': 'application/json', 'stripe-signature': signature },
      payload: body,
    })
    assert.equal(answer.statusCode, 200)
  }
}

/** Things that happen to a customer at Stripe, while nothing of it reaches us. */
const HAPPENINGS: Record<string, (h: House, customer: string, random: () => number) => void> = {
  renewal: (h) => h.standin.advance(31 * 86_400),
  'failing card': (h, customer) => {
    const method = h.standin.card('declines')
    for (const it of h.standin.store.all('subscription', (s) => s.customer === customer))
      it.default_payment_method = method
  },
  'good card': (h, customer) => {
    const method = h.standin.card('pays')
    for (const it of h.standin.store.all('subscription', (s) => s.customer === customer))
      it.default_payment_method = method
  },
  cancel: (h, customer) => {
    for (const it of h.standin.store.all('subscription', (s) => s.customer === customer)) it.cancel_at_period_end = true
  },
  days: (h, _customer, random) => h.standin.advance(Math.floor(random() * 10 * 86_400)),
  dispute: (h, customer, random) => {
    if (random() > 0.3) return
    const [charge] = h.standin.store.all('charge', (it) => it.customer === customer && it.paid)
    if (charge) h.standin.dispute(charge.id)
  },
}

const rowsOf = async (h: House, user: string) =>
  (
    await h.sql`
      select plan_id, status, end_date, grace_until, auto_renew, ended_at is not null as ended from subscriptions
       where user_id = ${user} order by start_date, id`
  ).map((row) => ({ ...row }))
const paidOf = async (h: House) =>
  (await h.sql`select stripe_charge_id, status, refunded_minor from payments order by stripe_charge_id`).map((row) => ({
    ...row,
  }))

for (const seed of [1, 2, 3, 4, 5, 6]) {
  test(`events lost, repeated and out of order lead to the state that Stripe has (seed ${seed})`, async (t) => {
    const h = await house(t)
    const random = seeded(seed)
    const user = await h.user()
    const { body } = await h.call('POST', '/payments/create', user, { plan_id: 'premium_monthly', ...URLS })
    await h.settle()
    const [{ stripe_customer_id: customer } = { stripe_customer_id: '' }] = await h.sql<
      { stripe_customer_id: string }[]
    >`
      select stripe_customer_id from billing_customers where user_id = ${user}`
    h.standin.delivery.lost = true
    const before = h.standin.events.length
    h.standin.pay(body.session_id)
    for (let n = 0; n < 8; n++) {
      const names = Object.keys(HAPPENINGS)
      HAPPENINGS[names[Math.floor(random() * names.length)] ?? '']?.(h, customer, random)
    }
    const events = h.standin.events.slice(before)
    // Of all that happened at least one event arrives; each makes us read the present.
    await deliver(h, [...mangled(events, random), ...events.slice(-1)])
    await h.settle()
    const rows = await rowsOf(h, user)
    const payments = await paidOf(h)
    // The truth: a fresh and complete comparison finds nothing to repair.
    const drift = await h.billing.reconcile()
    assert.equal(drift.repaired, 0, JSON.stringify(rows))
    assert.deepEqual(await paidOf(h), payments)
    // And everything once more, in another order, changes nothing.
    await deliver(
      h,
      mangled(
        events.map((it, n) => ({ ...it, id: `evt_more_${n}` })),
        random,
      ),
    )
    await h.settle()
    assert.deepEqual(await rowsOf(h, user), rows)
    assert.deepEqual(await paidOf(h), payments)
    assert.equal(payments.length, h.standin.store.all('charge', ({ paid }) => paid).length)
  })
}
