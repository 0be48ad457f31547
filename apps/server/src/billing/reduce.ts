import type { ChargeFact, Facts, InvoiceFact, SubscriptionFact } from './facts.ts'

const DAY_MS = 86_400_000
/** Premium after a failed renewal, and while a renewal is not yet confirmed (api.md, section 5, lifecycle). */
export const GRACE_MS = 3 * DAY_MS

export type PlanOfPrice = { planId: string; period: 'monthly' | 'yearly' }
export type Context = {
  /** Which of our plans a price of Stripe's pays for; prices of others are none of ours. */
  plans: ReadonlyMap<string, PlanOfPrice>
  /** The account is still there. */
  hasUser: boolean
  /** A granted plan stands: what is paid beside it is one too many. */
  granted: boolean
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
/** What must be asked of Stripe so that the customer ends with one paid subscription, or none. */
export type Act = {
  subscription: string
  why: 'duplicate' | 'orphan' | 'refunded' | 'disputed' | 'unpaid'
  refund: string[]
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

type Story = { fact: SubscriptionFact; invoices: InvoiceFact[]; charges: ChargeFact[] }

const byTime = <T extends { created: Date; id: string }>(a: T, b: T): number =>
  a.created.getTime() - b.created.getTime() || (a.id < b.id ? -1 : 1)

function storiesOf({ subscriptions, invoices, charges }: Facts): Story[] {
  return subscriptions.toSorted(byTime).map((fact) => {
    const own = invoices.filter(({ subscription }) => subscription === fact.id).toSorted(byTime)
    const intents = new Set(own.map(({ intent }) => intent))
    return { fact, invoices: own, charges: charges.filter(({ intent }) => intents.has(intent)) }
  })
}

/** Stripe may call it active before money came (slow methods); we want to see a paid invoice, if only over nothing. */
const isPaid = ({ invoices }: Story): boolean => invoices.some(({ status }) => status === 'paid')

const RUNNING: ReadonlySet<string> = new Set(['active', 'trialing', 'past_due', 'unpaid', 'paused'])
const isRunning = (story: Story): boolean => RUNNING.has(story.fact.status) && isPaid(story)

/**
 * The first payment was a bank debit and failed: nothing was ever bought. Left alone, Stripe would go on charging for a
 * plan that the customer does not have.
 */
const neverPaid = (story: Story): boolean =>
  (story.fact.status === 'past_due' || story.fact.status === 'unpaid') && !isPaid(story)

/** A bank took money back, the customer asked for all of it back, or the latest payment was given back whole. */
function endOf({ invoices, charges }: Story): 'disputed' | 'refunded' | undefined {
  if (charges.some(({ disputed }) => disputed)) return 'disputed'
  if (charges.some(({ refunds }) => refunds.some(({ ends, status }) => ends && status !== 'failed'))) return 'refunded'
  const latest = invoices.findLast(({ status, paid }) => status === 'paid' && paid > 0)
  const charge = latest && charges.find(({ intent }) => intent === latest.intent)
  return charge && charge.refunded >= charge.amount ? 'refunded' : undefined
}

/** The end of what was paid, and since when the rest is owed. */
function owed({ fact, invoices }: Story): { end: Date; since: Date } {
  const first = invoices.find(({ status }) => status === 'open' || status === 'uncollectible')
  if (!first) return { end: fact.periodStart, since: fact.periodStart }
  return { end: first.renewal ? first.periodStart : first.created, since: first.created }
}

function terms(story: Story, ended: boolean): Pick<SubscriptionRow, 'status' | 'end' | 'graceUntil' | 'autoRenew'> {
  const { fact } = story
  if (ended || !RUNNING.has(fact.status))
    return { status: 'canceled', end: fact.endedAt ?? fact.periodEnd, graceUntil: null, autoRenew: false }
  const autoRenew = fact.cancelAt === null
  if (fact.status === 'active' || fact.status === 'trialing') {
    const end = fact.cancelAt !== null && fact.cancelAt < fact.periodEnd ? fact.cancelAt : fact.periodEnd
    return { status: 'active', end, graceUntil: autoRenew ? new Date(end.getTime() + GRACE_MS) : null, autoRenew }
  }
  const { end, since } = owed(story)
  return { status: 'past_due', end, graceUntil: new Date(since.getTime() + GRACE_MS), autoRenew }
}

const unrefunded = (charges: ChargeFact[]): string[] =>
  charges.filter(({ refunded, amount, disputed }) => refunded < amount && !disputed).map(({ id }) => id)

/**
 * From what Stripe says now to what our rows say: the same facts give the same rows, whatever was heard before and in
 * which order. The first subscription that runs is the customer's; another one that was paid beside it ends, its money
 * goes back.
 */
export function reduce(facts: Facts, { plans, hasUser, granted }: Context): Reduced {
  const stories = storiesOf(facts)
  const known = stories.filter(({ fact }) => plans.has(fact.priceId))
  const keeper = granted ? undefined : known.find((story) => isRunning(story) && endOf(story) === undefined)
  const rows: SubscriptionRow[] = []
  const acts: Act[] = []
  for (const story of known) {
    const { fact } = story
    const plan = plans.get(fact.priceId)
    if (neverPaid(story)) acts.push({ subscription: fact.id, why: 'unpaid', refund: [] })
    if (!plan || !isPaid(story)) continue
    const end = endOf(story)
    const surplus = isRunning(story) && end === undefined && story !== keeper
    if (isRunning(story)) {
      if (end !== undefined) acts.push({ subscription: fact.id, why: end, refund: [] })
      else if (!hasUser) acts.push({ subscription: fact.id, why: 'orphan', refund: [] })
      else if (surplus) acts.push({ subscription: fact.id, why: 'duplicate', refund: unrefunded(story.charges) })
    }
    if (!hasUser) continue
    rows.push({
      stripeId: fact.id,
      planId: plan.planId,
      planType: plan.period,
      start: fact.created,
      amount: fact.amount,
      currency: fact.currency,
      trialEnd: fact.trialEnd,
      ...terms(story, end !== undefined || surplus),
    })
  }
  const planOfSubscription = new Map(known.map(({ fact }) => [fact.id, plans.get(fact.priceId)?.planId ?? null]))
  const planOf = (invoice: InvoiceFact | undefined): string | null =>
    (invoice?.subscription && planOfSubscription.get(invoice.subscription)) || null
  return {
    subscriptions: rows,
    invoices: facts.invoices.map((fact) => ({ fact, planId: planOf(fact) })),
    payments: facts.charges.map((charge) => {
      const invoice = facts.invoices.find(({ intent }) => intent === charge.intent)
      return { charge, invoice, planId: planOf(invoice) }
    }),
    acts,
    unknown: stories.filter(({ fact }) => !plans.has(fact.priceId)).map(({ fact }) => fact.id),
  }
}
