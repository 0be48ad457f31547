import type { ChargeFact } from './facts.ts'
import { endOf, hasEnded, isPaid, isRunning, neverPaid, paidSince, type Story } from './reduce-story.ts'

/** What must be asked of Stripe so that the customer ends with one paid subscription, or none. */
export type Act = {
  subscription: string
  why: 'duplicate' | 'orphan' | 'refunded' | 'disputed' | 'unpaid' | 'ended'
  /** Charges to give back, the oldest first: once the latest is back, the subscription ends by itself. */
  refund: string[]
  /** Invoices that nobody may pay any more. */
  void: string[]
}

export type Judgement = {
  /** The subscription that is the customer's. */
  keeper: Story | undefined
  now: Date
  /** When the account was erased; null while it is there. */
  erased: Date | null
}

const unrefunded = (charges: readonly ChargeFact[]): string[] =>
  charges.filter(({ refunded, amount, disputed }) => refunded < amount && !disputed).map(({ id }) => id)

/** Paid beside another plan: all of it goes back. Where only a granted plan stands, what was used up before it does not. */
function surplusOf({ invoices, charges }: Story, { keeper, now }: Judgement): ChargeFact[] {
  if (keeper) return charges
  return charges.filter(({ intent }) => invoices.some((it) => it.intent === intent && it.periodEnd > now))
}

/**
 * An ended subscription gives nothing for money: its open invoices are closed, and what was paid after its end, or while
 * we were ending it as abandoned, goes back.
 */
function afterEnd(story: Story, late: readonly ChargeFact[]): Act | undefined {
  const { fact, invoices, charges } = story
  const afterwards = fact.abandoned ? charges : fact.endedAt === null ? [] : paidSince(story, fact.endedAt)
  const refund = unrefunded(charges.filter((it) => afterwards.includes(it) || late.includes(it)))
  const open = invoices.filter(({ status }) => status === 'open' || status === 'uncollectible').map(({ id }) => id)
  if (refund.length === 0 && open.length === 0) return undefined
  return { subscription: fact.id, why: 'ended', refund, void: open }
}

/** What is to be done about one subscription of ours, if anything. */
export function actOf(story: Story, judgement: Judgement): Act | undefined {
  const { keeper, now, erased } = judgement
  const late = erased === null ? [] : paidSince(story, erased)
  const act = (why: Act['why'], charges: readonly ChargeFact[] = []): Act => ({
    subscription: story.fact.id,
    why,
    refund: unrefunded(charges),
    void: [],
  })
  if (hasEnded(story)) return afterEnd(story, late)
  if (neverPaid(story)) return act('unpaid')
  if (erased !== null) return isPaid(story) ? act('orphan', late) : undefined
  if (!isRunning(story, now)) return undefined
  const end = endOf(story)
  if (end !== undefined) return act(end)
  return story === keeper ? undefined : act('duplicate', surplusOf(story, judgement))
}
