import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ChargeFact, Facts, InvoiceFact, SubscriptionFact } from './facts.ts'
import { GRACE_MS, reduce, type Context } from './reduce.ts'

const DAY = 86_400_000
const T0 = Date.UTC(2030, 0, 1)
const at = (days: number): Date => new Date(T0 + days * DAY)
const plans: Context['plans'] = new Map([
  ['price_month', { planId: 'premium_monthly', period: 'monthly' }],
  ['price_year', { planId: 'premium_yearly', period: 'yearly' }],
])
const context: Context = { plans, hasUser: true, granted: false }

const STATUSES = [
  'incomplete',
  'incomplete_expired',
  'trialing',
  'active',
  'past_due',
  'unpaid',
  'canceled',
  'paused',
] as const
const INVOICE = ['draft', 'open', 'paid', 'uncollectible', 'void'] as const

const story = fc.record({
  status: fc.constantFrom(...STATUSES),
  price: fc.constantFrom('price_month', 'price_year', 'price_of_another'),
  created: fc.integer({ min: 0, max: 400 }),
  cancel: fc.boolean(),
  invoices: fc.array(
    fc.record({
      status: fc.constantFrom(...INVOICE),
      refunded: fc.constantFrom(0, 300, 999),
      disputed: fc.boolean(),
      ends: fc.boolean(),
    }),
    { maxLength: 4 },
  ),
})
type Story = typeof story extends fc.Arbitrary<infer T> ? T : never

function factsOf(stories: readonly Story[]): Facts {
  const subscriptions: SubscriptionFact[] = []
  const invoices: InvoiceFact[] = []
  const charges: ChargeFact[] = []
  for (const [s, { status, price, created, cancel, invoices: own }] of stories.entries()) {
    const end = at(created + 30 * Math.max(1, own.length))
    subscriptions.push({
      id: `sub_${s}`,
      status,
      created: at(created),
      itemId: `si_${s}`,
      priceId: price,
      amount: 999,
      currency: 'USD',
      periodStart: at(created + 30 * Math.max(0, own.length - 1)),
      periodEnd: end,
      cancelAt: cancel ? end : null,
      endedAt: status === 'canceled' ? at(created + 5) : null,
      trialEnd: null,
      order: null,
    })
    for (const [i, it] of own.entries()) {
      const paid = it.status === 'paid'
      invoices.push({
        id: `in_${s}_${i}`,
        subscription: `sub_${s}`,
        status: it.status,
        renewal: i > 0,
        created: at(created + 30 * i),
        number: null,
        total: 999,
        paid: paid ? 999 : 0,
        currency: 'USD',
        periodStart: at(created + 30 * i),
        periodEnd: at(created + 30 * (i + 1)),
        intent: `pi_${s}_${i}`,
      })
      if (paid)
        charges.push({
          id: `ch_${s}_${i}`,
          intent: `pi_${s}_${i}`,
          amount: 999,
          refunded: it.refunded,
          disputed: it.disputed,
          created: at(created + 30 * i),
          currency: 'USD',
          refunds:
            it.refunded > 0
              ? [
                  {
                    id: `re_${s}_${i}`,
                    amount: it.refunded,
                    status: 'succeeded',
                    created: at(created),
                    reason: '',
                    ours: null,
                    ends: it.ends,
                  },
                ]
              : [],
        })
    }
  }
  return { subscriptions, invoices, charges }
}
const anyFacts = fc.array(story, { maxLength: 4 }).map(factsOf)
const shuffled = (facts: Facts, seed: number): Facts => {
  const mix = <T extends { id: string }>(list: T[]): T[] =>
    list.toSorted(
      (a, b) =>
        (((a.id.length * 7 + a.id.charCodeAt(a.id.length - 1)) * seed) % 13) -
        (((b.id.length * 7 + b.id.charCodeAt(b.id.length - 1)) * seed) % 13),
    )
  return { subscriptions: mix(facts.subscriptions), invoices: mix(facts.invoices), charges: mix(facts.charges) }
}
const live = <T extends { status: string }>(rows: T[]): T[] => rows.filter(({ status }) => status !== 'canceled')

fc.configureGlobal({ numRuns: 500 })

test('at most one subscription stands, whatever Stripe holds', () => {
  fc.assert(
    fc.property(anyFacts, fc.boolean(), (facts, granted) => {
      const { subscriptions } = reduce(facts, { ...context, granted })
      assert.ok(live(subscriptions).length <= (granted ? 0 : 1))
    }),
  )
})

test('the order in which Stripe lists things changes nothing', () => {
  fc.assert(
    fc.property(anyFacts, fc.integer({ min: 1, max: 12 }), (facts, seed) => {
      const key = <T extends { stripeId: string }>(rows: T[]) =>
        rows.toSorted((a, b) => (a.stripeId < b.stripeId ? -1 : 1))
      assert.deepEqual(
        key(reduce(shuffled(facts, seed), context).subscriptions),
        key(reduce(facts, context).subscriptions),
      )
    }),
  )
})

test('nobody has premium without a paid invoice, after a dispute, or by a price of another', () => {
  fc.assert(
    fc.property(anyFacts, (facts) => {
      for (const row of live(reduce(facts, context).subscriptions)) {
        const invoices = facts.invoices.filter(({ subscription }) => subscription === row.stripeId)
        assert.ok(invoices.some(({ status }) => status === 'paid'))
        assert.ok(
          !facts.charges.some(({ intent, disputed }) => disputed && invoices.some((it) => it.intent === intent)),
        )
        assert.ok(plans.has(facts.subscriptions.find(({ id }) => id === row.stripeId)?.priceId ?? ''))
      }
    }),
  )
})

test('whoever pays for a running subscription has premium, or gets the money of that subscription back', () => {
  fc.assert(
    fc.property(anyFacts, (facts) => {
      const { subscriptions, acts } = reduce(facts, context)
      for (const it of facts.subscriptions) {
        const charges = facts.charges.filter(({ intent }) => intent.startsWith(`pi_${it.id.slice(4)}_`))
        const running = ['active', 'trialing'].includes(it.status) && plans.has(it.priceId) && charges.length > 0
        const untouched = charges.every(({ refunded, disputed }) => refunded === 0 && !disputed)
        if (!running || !untouched) continue
        const row = subscriptions.find(({ stripeId }) => stripeId === it.id)
        const act = acts.find(({ subscription }) => subscription === it.id)
        if (row?.status === 'active') continue
        assert.equal(act?.why, 'duplicate')
        assert.deepEqual(act?.refund.toSorted(), charges.map(({ id }) => id).toSorted())
      }
    }),
  )
})

test('carrying the acts out leads to a state that asks for no more', () => {
  fc.assert(
    fc.property(anyFacts, (facts) => {
      const present = structuredClone(facts)
      for (let round = 0; round < 5; round++) {
        const { acts } = reduce(present, context)
        if (acts.length === 0) return
        for (const { subscription, refund } of acts) {
          for (const charge of present.charges) if (refund.includes(charge.id)) charge.refunded = charge.amount
          const ended = present.subscriptions.find(({ id }) => id === subscription)
          if (ended) Object.assign(ended, { status: 'canceled', endedAt: at(500) })
        }
      }
      assert.fail('the acts never end')
    }),
  )
})

test('being killed between the refund and the end of a duplicate loses neither', () => {
  const two: Story[] = [0, 1].map((created) => ({
    status: 'active',
    price: 'price_month',
    created,
    cancel: false,
    invoices: [{ status: 'paid', refunded: 0, disputed: false, ends: false }],
  }))
  const facts = factsOf(two)
  const [act] = reduce(facts, context).acts
  assert.deepEqual([act?.subscription, act?.refund], ['sub_1', ['ch_1_0']])
  for (const charge of facts.charges) if (charge.id === 'ch_1_0') charge.refunded = charge.amount
  const [next] = reduce(facts, context).acts
  assert.deepEqual([next?.subscription, next?.why, next?.refund], ['sub_1', 'refunded', []])
})

test('past due keeps the end of the paid period and three days from the failed invoice', () => {
  const facts = factsOf([
    {
      status: 'past_due',
      price: 'price_month',
      created: 0,
      cancel: false,
      invoices: [
        { status: 'paid', refunded: 0, disputed: false, ends: false },
        { status: 'open', refunded: 0, disputed: false, ends: false },
      ],
    },
  ])
  const [row] = reduce(facts, context).subscriptions
  assert.deepEqual(
    [row?.status, row?.end, row?.graceUntil],
    ['past_due', at(30), new Date(at(30).getTime() + GRACE_MS)],
  )
})

test('an account that is gone has no rows, and what it still pays ends', () => {
  const facts = factsOf([
    {
      status: 'active',
      price: 'price_month',
      created: 0,
      cancel: false,
      invoices: [{ status: 'paid', refunded: 0, disputed: false, ends: false }],
    },
  ])
  const { subscriptions, acts } = reduce(facts, { ...context, hasUser: false })
  assert.deepEqual([subscriptions.length, acts.map(({ why }) => why)], [0, ['orphan']])
})

test('one that Stripe calls active before any money came does not displace the paid one', () => {
  const paid = { status: 'paid', refunded: 0, disputed: false, ends: false } as const
  const facts = factsOf([
    { status: 'active', price: 'price_month', created: 0, cancel: false, invoices: [{ ...paid, status: 'open' }] },
    { status: 'active', price: 'price_month', created: 1, cancel: false, invoices: [paid] },
  ])
  const { subscriptions, acts } = reduce(facts, context)
  assert.deepEqual([subscriptions.map(({ stripeId, status }) => [stripeId, status]), acts], [[['sub_1', 'active']], []])
})
