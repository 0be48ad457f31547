import type { ChargeFact, Facts, InvoiceFact, SubscriptionFact } from './facts.ts'
import { actOf, type Act } from './reduce-acts.ts'
import { endOf, isPaid, isRunning, paidFirstAt, storiesOf, type Story } from './reduce-story.ts'

const DAY_MS = 86_400_000
/** Premium after a failed renewal, and while a renewal is not yet confirmed (api.md, section 5, lifecycle). */
export const GRACE_MS = 3 * DAY_MS

export type PlanOfPrice = { planId: string; period: 'monthly' | 'yearly' }
export type Context = {
  /** Which of our plans a price of Stripe's pays for; prices of others are none of ours. */
  plans: ReadonlyMap<string, PlanOfPrice>
  /** Plans of the subscriptions that we have written already: one whose price was changed at Stripe keeps its plan. */
  held: ReadonlyMap<string, PlanOfPrice>
  /** When the account was erased; null while it is there. */
  erased: Date | null
  /** A granted plan stands: what is paid beside it is one too many. */
  granted: boolean
  now: Date
}

export type SubscriptionRow = {
  stripeId: string
  planId: string
  planType: 'monthly' | 'yearly'
  status: 'active' | 'past_due' | 'canceled'
  start: Date
  end: Date
  graceUntil: Date | null
  autoRenew: boolean
  amount: number
  currency: string
  trialEnd: Date | null
}
export type PaymentRow = { charge: ChargeFact; invoice: InvoiceFact | undefined; planId: string | null }
export type Reduced = {
  subscriptions: SubscriptionRow[]
  payments: PaymentRow[]
  invoices: { fact: InvoiceFact; planId: string | null }[]
  acts: Act[]
  /** Subscriptions whose price is not of ours. */
  unknown: string[]
}

/** The end of what was paid, and since when the rest is owed. */
function owed({ fact, invoices }: Story): { end: Date; since: Date } {
  // What was written off before the latest payment is forgiven.
  const since = invoices.slice(invoices.findLastIndex(({ status }) => status === 'paid') + 1)
  const first = since.find(({ status }) => status === 'open' || status === 'uncollectible')
  if (!first) return { end: fact.periodStart, since: fact.periodStart }
  return { end: first.renewal ? first.periodStart : first.created, since: first.created }
}

const lastDay = ({ cancelAt, periodEnd }: SubscriptionFact): Date =>
  cancelAt !== null && cancelAt < periodEnd ? cancelAt : periodEnd

/** @param stands it is the one that gives the customer his plan */
function terms(story: Story, stands: boolean): Pick<SubscriptionRow, 'status' | 'end' | 'graceUntil' | 'autoRenew'> {
  const { fact } = story
  if (!stands) return { status: 'canceled', end: fact.endedAt ?? lastDay(fact), graceUntil: null, autoRenew: false }
  const autoRenew = fact.cancelAt === null
  if (fact.status === 'active' || fact.status === 'trialing') {
    const end = lastDay(fact)
    return { status: 'active', end, graceUntil: autoRenew ? new Date(end.getTime() + GRACE_MS) : null, autoRenew }
  }
  const { end, since } = owed(story)
  return { status: 'past_due', end, graceUntil: new Date(since.getTime() + GRACE_MS), autoRenew }
}

/** Of those that run and nobody took money back from, the one that was paid first. */
function keeperOf(known: readonly Story[], now: Date): Story | undefined {
  const [first, ...others] = known.filter((story) => isRunning(story, now) && endOf(story) === undefined)
  return first && others.reduce((kept, it) => (paidFirstAt(it) < paidFirstAt(kept) ? it : kept), first)
}

/**
 * From what Stripe says now to what our rows say: the same facts give the same rows, whatever was heard before and in
 * which order. The subscription that was paid first is the customer's; another one that was paid beside it ends, its money
 * goes back.
 */
export function reduce(facts: Facts, { plans, held, erased, granted, now }: Context): Reduced {
  const stories = storiesOf(facts)
  const planOfStory = ({ fact }: Story): PlanOfPrice | undefined => plans.get(fact.priceId) ?? held.get(fact.id)
  const known = stories.filter((story) => planOfStory(story) !== undefined)
  const keeper = granted ? undefined : keeperOf(known, now)
  const rows: SubscriptionRow[] = []
  for (const story of erased === null ? known : []) {
    const { fact } = story
    const plan = planOfStory(story)
    if (!plan || !isPaid(story)) continue
    rows.push({
      stripeId: fact.id,
      planId: plan.planId,
      planType: plan.period,
      start: fact.created,
      amount: fact.amount,
      currency: fact.currency,
      trialEnd: fact.trialEnd,
      ...terms(story, story === keeper),
    })
  }
  const planOfSubscription = new Map(known.map((story) => [story.fact.id, planOfStory(story)?.planId ?? null]))
  const planOf = (invoice: InvoiceFact | undefined): string | null =>
    (invoice?.subscription && planOfSubscription.get(invoice.subscription)) || null
  return {
    subscriptions: rows,
    invoices: facts.invoices.map((fact) => ({ fact, planId: planOf(fact) })),
    payments: facts.charges.map((charge) => {
      const invoice = facts.invoices.find(({ intent }) => intent === charge.intent)
      return { charge, invoice, planId: planOf(invoice) }
    }),
    acts: known.map((story) => actOf(story, { keeper, now, erased })).filter((act) => act !== undefined),
    unknown: stories.filter(({ fact }) => !plans.has(fact.priceId)).map(({ fact }) => fact.id),
  }
}
