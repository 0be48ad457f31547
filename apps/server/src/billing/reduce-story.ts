import type { ChargeFact, Facts, InvoiceFact, SubscriptionFact } from './facts.ts'

/** A subscription with what was billed and paid for it, the oldest first. */
export type Story = { fact: SubscriptionFact; invoices: InvoiceFact[]; charges: ChargeFact[] }

const byTime = <T extends { created: Date; id: string }>(a: T, b: T): number =>
  a.created.getTime() - b.created.getTime() || (a.id < b.id ? -1 : 1)

export function storiesOf({ subscriptions, invoices, charges }: Facts): Story[] {
  return subscriptions.toSorted(byTime).map((fact) => {
    const own = invoices.filter(({ subscription }) => subscription === fact.id).toSorted(byTime)
    const intents = new Set(own.map(({ intent }) => intent))
    return { fact, invoices: own, charges: charges.filter(({ intent }) => intents.has(intent)).toSorted(byTime) }
  })
}

/** Stripe may call it active before money came (slow methods); we want to see a paid invoice, if only over nothing. */
export const isPaid = ({ invoices }: Story): boolean => invoices.some(({ status }) => status === 'paid')

const paidTime = ({ paidAt, created }: InvoiceFact): number => (paidAt ?? created).getTime()

/** When its first invoice was paid, in milliseconds since 1970: of two, the one paid first is the customer's. */
export const paidFirstAt = ({ invoices }: Story): number =>
  Math.min(...invoices.filter(({ status }) => status === 'paid').map(paidTime))

/** Charges whose money came at `from` or later; a bank debit is charged days before. */
export const paidSince = ({ invoices, charges }: Story, from: Date): ChargeFact[] =>
  charges.filter(({ intent }) =>
    invoices.some((it) => it.intent === intent && it.status === 'paid' && paidTime(it) >= from.getTime()),
  )

const ENDED: ReadonlySet<string> = new Set(['canceled', 'incomplete_expired'])
export const hasEnded = ({ fact }: Story): boolean => ENDED.has(fact.status)

const RUNNING: ReadonlySet<string> = new Set(['active', 'trialing', 'past_due', 'unpaid', 'paused'])

/** It was paid and goes on. One that was to end by now has ended, though Stripe may need some minutes to say so. */
export const isRunning = (story: Story, now: Date): boolean =>
  RUNNING.has(story.fact.status) && isPaid(story) && !(story.fact.cancelAt !== null && story.fact.cancelAt <= now)

/**
 * The first payment was a bank debit and failed: nothing was ever bought. Left alone, Stripe would go on charging for a
 * plan that the customer does not have.
 */
export const neverPaid = (story: Story): boolean =>
  (story.fact.status === 'past_due' || story.fact.status === 'unpaid') && !isPaid(story)

/** A bank took money back, the customer asked for all of it back, or the latest payment was given back whole. */
export function endOf({ invoices, charges }: Story): 'disputed' | 'refunded' | undefined {
  if (charges.some(({ disputed }) => disputed)) return 'disputed'
  if (charges.some(({ refunds }) => refunds.some(({ ends, status }) => ends && status !== 'failed'))) return 'refunded'
  const latest = invoices.findLast(({ status, paid }) => status === 'paid' && paid > 0)
  const charge = latest && charges.find(({ intent }) => intent === latest.intent)
  return charge && charge.refunded >= charge.amount ? 'refunded' : undefined
}
