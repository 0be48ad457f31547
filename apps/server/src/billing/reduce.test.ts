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
const NEVER = at(10_000)
const context: Context = { plans, held: new Map(), erased: null, granted: false, now: at(0) }

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
  abandoned: fc.boolean(),
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
const anInvoice: Story['invoices'][number] = { status: 'paid', refunded: 0, disputed: false, ends: false }
const aStory = (more: Partial<Story> = {}): Story => ({
  status: 'active',
  price: 'price_month',
  created: 0,
  cancel: false,
  abandoned: false,
  invoices: [anInvoice],
  ...more,
})

function factsOf(stories: readonly Story[]): Facts {
  const subscriptions: SubscriptionFact[] = []
  const invoices: InvoiceFact[] = []
  const charges: ChargeFact[] = []
  for (const [s, { status, price, created, cancel, abandoned, invoices: own }] of stories.entries()) {
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
      abandoned: status === 'canceled' && abandoned,
    })
    for (const [i, it] of own.entries()) {
      const paid = it.status === 'paid'
      invoices.push({
        id: `in_${s}_${i}`,
        subscription: `sub_${s}`,
        status: it.status,
        renewal: i > 0,
        created: at(created + 30 * i),
        paidAt: paid ? at(created + 30 * i) : null,
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

const anyDay = fc.integer({ min: 0, max: 600 }).map(at)

test('at most one subscription stands, whatever Stripe holds', () => {
  fc.assert(
    fc.property(anyFacts, fc.boolean(), anyDay, (facts, granted, now) => {
      const { subscriptions } = reduce(facts, { ...context, granted, now })
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

const chargesOf = (facts: Facts, { id }: SubscriptionFact): ChargeFact[] =>
  facts.charges.filter(({ intent }) => intent.startsWith(`pi_${id.slice(4)}_`))

test('whoever pays for a running subscription has premium, or gets the money of that subscription back', () => {
  fc.assert(
    fc.property(anyFacts, anyDay, (facts, now) => {
      const { subscriptions, acts } = reduce(facts, { ...context, now })
      for (const it of facts.subscriptions) {
        const charges = chargesOf(facts, it)
        const isOver = it.cancelAt !== null && it.cancelAt <= now
        const running = ['active', 'trialing'].includes(it.status) && plans.has(it.priceId) && !isOver
        const untouched = charges.every(({ refunded, disputed }) => refunded === 0 && !disputed)
        if (!running || charges.length === 0 || !untouched) continue
        const row = subscriptions.find(({ stripeId }) => stripeId === it.id)
        const act = acts.find(({ subscription }) => subscription === it.id)
        if (row?.status === 'active') continue
        assert.equal(act?.why, 'duplicate')
        assert.deepEqual(act?.refund.toSorted(), charges.map(({ id }) => id).toSorted())
      }
    }),
  )
})

test('whoever paid for a subscription after its end, or while it was ended as abandoned, gets that back, and can pay no more', () => {
  fc.assert(
    fc.property(anyFacts, anyDay, (facts, now) => {
      const { acts } = reduce(facts, { ...context, now })
      for (const it of facts.subscriptions) {
        if (it.status !== 'canceled' || !plans.has(it.priceId)) continue
        const act = acts.find(({ subscription }) => subscription === it.id)
        const due = chargesOf(facts, it).filter(
          ({ created, refunded, amount, disputed }) =>
            (it.abandoned || created >= (it.endedAt ?? NEVER)) && refunded < amount && !disputed,
        )
        assert.deepEqual(act?.refund.toSorted() ?? [], due.map(({ id }) => id).toSorted())
        const open = facts.invoices.filter(
          ({ subscription, status }) => subscription === it.id && ['open', 'uncollectible'].includes(status),
        )
        assert.deepEqual(act?.void.toSorted() ?? [], open.map(({ id }) => id).toSorted())
      }
    }),
  )
})

test('carrying the acts out leads to a state that asks for no more', () => {
  fc.assert(
    fc.property(anyFacts, anyDay, fc.option(anyDay), (facts, now, erased) => {
      const present = structuredClone(facts)
      for (let round = 0; round < 5; round++) {
        const { acts } = reduce(present, { ...context, now, erased })
        if (acts.length === 0) return
        for (const act of acts) {
          for (const charge of present.charges) if (act.refund.includes(charge.id)) charge.refunded = charge.amount
          for (const invoice of present.invoices) if (act.void.includes(invoice.id)) invoice.status = 'void'
          const it = present.subscriptions.find(({ id }) => id === act.subscription)
          if (it && act.why !== 'ended') Object.assign(it, { status: 'canceled', endedAt: at(700) })
        }
      }
      assert.fail('the acts never end')
    }),
  )
})

test('being killed between the refund and the end of a duplicate loses neither', () => {
  const facts = factsOf([aStory(), aStory({ created: 1 })])
  const [act] = reduce(facts, context).acts
  assert.deepEqual([act?.subscription, act?.refund], ['sub_1', ['ch_1_0']])
  for (const charge of facts.charges) if (charge.id === 'ch_1_0') charge.refunded = charge.amount
  const [next] = reduce(facts, context).acts
  assert.deepEqual([next?.subscription, next?.why, next?.refund], ['sub_1', 'refunded', []])
})

test('of two payments of one duplicate the older goes back first, so that being killed in between loses neither', () => {
  const facts = factsOf([aStory(), aStory({ created: 1, invoices: [anInvoice, anInvoice] })])
  const newestFirst = { ...facts, charges: facts.charges.toReversed() }
  assert.deepEqual(reduce(newestFirst, context).acts[0]?.refund, ['ch_1_0', 'ch_1_1'])
})

test('past due keeps the end of the paid period and three days from the failed invoice', () => {
  const facts = factsOf([aStory({ status: 'past_due', invoices: [anInvoice, { ...anInvoice, status: 'open' }] })])
  const [row] = reduce(facts, context).subscriptions
  assert.deepEqual(
    [row?.status, row?.end, row?.graceUntil],
    ['past_due', at(30), new Date(at(30).getTime() + GRACE_MS)],
  )
})

test('an invoice that was written off before the latest payment shortens no later grace', () => {
  const invoices: Story['invoices'] = [
    anInvoice,
    { ...anInvoice, status: 'uncollectible' },
    anInvoice,
    { ...anInvoice, status: 'open' },
  ]
  const [row] = reduce(factsOf([aStory({ status: 'past_due', invoices })]), context).subscriptions
  assert.deepEqual([row?.end, row?.graceUntil], [at(90), new Date(at(90).getTime() + GRACE_MS)])
})

test('an account that is gone has no rows, what it still pays ends, and what it paid since then goes back', () => {
  const facts = factsOf([aStory({ invoices: [anInvoice, anInvoice] })])
  const { subscriptions, acts } = reduce(facts, { ...context, erased: at(10) })
  assert.deepEqual([subscriptions.length, acts.map(({ why, refund }) => [why, refund])], [0, [['orphan', ['ch_0_1']]]])
  const ended = { ...facts, subscriptions: facts.subscriptions.map((it) => ({ ...it, status: 'canceled' as const })) }
  assert.deepEqual(
    reduce(ended, { ...context, erased: at(10) }).acts.map(({ why, refund }) => [why, refund]),
    [['ended', ['ch_0_1']]],
    'also when its end came first',
  )
})

test('one that Stripe calls active before any money came does not displace the paid one', () => {
  const facts = factsOf([aStory({ invoices: [{ ...anInvoice, status: 'open' }] }), aStory({ created: 1 })])
  const { subscriptions, acts } = reduce(facts, context)
  assert.deepEqual([subscriptions.map(({ stripeId, status }) => [stripeId, status]), acts], [[['sub_1', 'active']], []])
})

test('of two, the one that was paid first stays, whichever was begun first', () => {
  const facts = factsOf([aStory(), aStory({ created: 1 })])
  for (const invoice of facts.invoices) if (invoice.id === 'in_0_0') invoice.paidAt = at(2)
  const { subscriptions, acts } = reduce(facts, context)
  assert.deepEqual(
    live(subscriptions).map(({ stripeId }) => stripeId),
    ['sub_1'],
  )
  assert.deepEqual(
    acts.map(({ subscription, why, refund }) => [subscription, why, refund]),
    [['sub_0', 'duplicate', ['ch_0_0']]],
  )
})

test('a subscription whose end has come is over, though Stripe has not said so: what is bought next stands, nothing goes back', () => {
  const old = aStory({ cancel: true, invoices: [anInvoice, anInvoice] })
  const beside = reduce(factsOf([old, aStory({ created: 60 })]), { ...context, now: at(60) })
  assert.deepEqual(
    beside.subscriptions.map(({ stripeId, status, end }) => [stripeId, status, end]),
    [
      ['sub_0', 'canceled', at(60)],
      ['sub_1', 'active', at(90)],
    ],
  )
  assert.deepEqual(beside.acts, [])
  assert.deepEqual(reduce(factsOf([old]), { ...context, granted: true, now: at(60) }).acts, [])
  const before = reduce(factsOf([old, aStory({ created: 59 })]), { ...context, now: at(59) })
  assert.deepEqual(
    before.acts.map(({ subscription, why }) => [subscription, why]),
    [['sub_1', 'duplicate']],
  )
})

test('a subscription beside a granted plan gives back the period that runs, not those that were used', () => {
  const facts = factsOf([aStory({ invoices: [anInvoice, anInvoice] })])
  const { acts } = reduce(facts, { ...context, granted: true, now: at(31) })
  assert.deepEqual(
    acts.map(({ why, refund }) => [why, refund]),
    [['duplicate', ['ch_0_1']]],
  )
})

test('a subscription that is ours keeps its plan when its price is changed at Stripe to one of no plan', () => {
  const held = new Map([['sub_0', { planId: 'premium_monthly', period: 'monthly' as const }]])
  for (const [status, shown] of [
    ['active', 'active'],
    ['canceled', 'canceled'],
  ] as const) {
    const { subscriptions, unknown } = reduce(factsOf([aStory({ price: 'price_of_another', status })]), {
      ...context,
      held,
    })
    assert.deepEqual(
      [subscriptions.map(({ planId, status: row }) => [planId, row]), unknown],
      [[['premium_monthly', shown]], ['sub_0']],
    )
  }
})
