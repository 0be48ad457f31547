import type { Tx } from '../platform/db/index.ts'
import { queueActs } from './acts-queue.ts'
import type { Customer } from './customers.ts'
import { fetchFacts, type Facts } from './facts.ts'
import { mailDay, notify } from './mails.ts'
import { moneyText } from './money.ts'
import { nowOf, type Parts } from './parts.ts'
import { plansOfPrices } from './plan-store.ts'
import type { Act } from './reduce-acts.ts'
import { reduce, type Reduced, type SubscriptionRow } from './reduce.ts'
import { isPaid, storiesOf } from './reduce-story.ts'
import { endWhatIsTooMuch } from './shrink.ts'
import {
  beginSync,
  endForeign,
  heldPlans,
  knownSubscriptions,
  lockCustomer,
  markApplied,
  noteSync,
  settleGrants,
  settleOrders,
  writeInvoices,
  writePayments,
  writeSubscription,
  type Change,
  type NewPayment,
  type OrdersNow,
} from './sync-store.ts'

/** Stripe calls what a bank debit pays for active at once; only its money settles the order. */
const UNPAID = new Set(['active', 'past_due', 'unpaid'])

function ordersOf(facts: Facts): OrdersNow {
  const orders: OrdersNow = { done: [], processing: [], givenUp: [] }
  for (const story of storiesOf(facts)) {
    const { id, order, status } = story.fact
    if (order === null || status === 'incomplete') continue
    const made = { order, subscription: id }
    if (status === 'incomplete_expired') orders.givenUp.push(made)
    else if (UNPAID.has(status) && !isPaid(story)) orders.processing.push(made)
    else orders.done.push(made)
  }
  return orders
}

/** @returns whether the user was told that his plan has ended */
async function tellChanges(
  parts: Parts,
  tx: Tx,
  userId: string,
  reduced: Reduced,
  changes: Change[],
  now: Date,
): Promise<boolean> {
  let toldEnd = false
  for (const change of changes) {
    const row = reduced.subscriptions.find(({ stripeId }) => stripeId === change.stripeId)
    if (!row) continue
    const until = row.graceUntil ?? row.end
    if (row.status === 'past_due' && change.before?.status !== 'past_due' && until > now)
      await notify(parts, tx, `failed:${row.stripeId}:${row.end.toISOString()}`, {
        kind: 'payment_failed',
        user_id: userId,
        day: mailDay(until),
      })
    const stood = change.before !== undefined && change.before.status !== 'canceled' && change.before.lapsed_at === null
    const over = row.status === 'canceled' || (row.status === 'past_due' && until <= now)
    if (!stood || !over) continue
    await notify(parts, tx, `ended:${row.stripeId}:${row.end.toISOString()}`, { kind: 'ended', user_id: userId })
    toldEnd = true
  }
  return toldEnd
}

async function tellPayments(parts: Parts, tx: Tx, userId: string, payments: NewPayment[]) {
  for (const { id, amount_minor, currency, paid_at, plan } of payments)
    await notify(parts, tx, `receipt:${id}`, {
      kind: 'receipt',
      user_id: userId,
      amount: moneyText(amount_minor, currency),
      day: mailDay(paid_at),
      ...(plan === null ? {} : { plan }),
    })
}

const givesPlan = ({ status, end, graceUntil }: SubscriptionRow, now: Date): boolean =>
  (status === 'active' && end > now) || (status !== 'canceled' && graceUntil !== null && graceUntil > now)

/** A user has one live row: those that end make room before the one that stands, and so does what is of another home. */
async function writeRows(
  tx: Tx,
  owner: { userId: string; customerId: string },
  { subscriptions }: Reduced,
  facts: Facts,
  now: Date,
): Promise<Change[]> {
  const stands = subscriptions.find(({ status }) => status !== 'canceled')
  const here = facts.subscriptions.map(({ id }) => id)
  const yields =
    stands !== undefined && (await endForeign(tx, owner.userId, here, { now, givesPlan: givesPlan(stands, now) }))
  const changes: Change[] = []
  for (const row of [...subscriptions.filter((it) => it !== stands), ...(stands ? [stands] : [])]) {
    const wanted = yields && row === stands ? { ...row, ...OVER } : row
    const change = await writeSubscription(tx, owner, wanted, now)
    if (change) changes.push(change)
  }
  return changes
}

/** What lapsed here while a plan that was paid elsewhere runs: over, until it is paid after all. */
const OVER = { status: 'canceled', graceUntil: null, autoRenew: false } as const

/** @returns what changed; undefined when a newer read was written already */
async function apply(
  parts: Parts,
  customer: Customer & { stripe_customer_id: string },
  facts: Facts,
  read: { seq: bigint; began: string },
  done: Act | undefined,
): Promise<Change[] | undefined> {
  return parts.db.begin(async (tx) => {
    const locked = await lockCustomer(tx, customer.id)
    if (!locked) return []
    if (locked.sync_applied > read.seq) return undefined
    const now = nowOf(parts)
    const userId = locked.user_id
    const granted = userId !== null && (await settleGrants(tx, userId, now))
    const reduced = reduce(facts, {
      plans: await plansOfPrices(tx),
      held: await heldPlans(tx, customer.id),
      erased: userId === null ? (locked.erased_at ?? now) : null,
      granted,
      now,
    })
    if (reduced.unknown.length > 0)
      parts.log.warn({ customer: customer.id, subscriptions: reduced.unknown }, 'a subscription has a price of no plan')
    await writeInvoices(tx, customer.id, reduced.invoices)
    const payments = await writePayments(tx, customer.id, reduced.payments)
    const changes = userId === null ? [] : await writeRows(tx, { userId, customerId: customer.id }, reduced, facts, now)
    await settleOrders(tx, customer.id, ordersOf(facts))
    await noteSync(
      tx,
      customer.id,
      read.seq,
      facts.subscriptions.some(({ trialEnd }) => trialEnd !== null),
    )
    await markApplied(tx, customer.stripe_customer_id, read.began, now)
    await queueActs(parts, tx, { customerId: customer.id, userId }, reduced, done)
    if (userId !== null) {
      const toldEnd = await tellChanges(parts, tx, userId, reduced, changes, now)
      await tellPayments(parts, tx, userId, payments)
      if (changes.length > 0) await endWhatIsTooMuch(parts, tx, userId, toldEnd)
    }
    return changes
  })
}

const MOST_READS = 5

/**
 * Makes our rows say what Stripe says of this customer now. Safe to run any number of times and side by side.
 * @param done what was just asked of Stripe because of an earlier read, and is not to be asked again at once
 * @returns what had to change
 * @throws Stripe's errors: nothing was written, the job runs again
 */
export async function syncCustomer(
  parts: Parts,
  customer: Customer & { stripe_customer_id: string },
  done?: Act,
): Promise<Change[]> {
  const { sdk } = parts.stripe()
  for (let attempt = 0; attempt < MOST_READS; attempt++) {
    const read = await beginSync(parts.db, customer.id)
    const known = await knownSubscriptions(parts.db, customer.id)
    const facts = await fetchFacts(sdk, customer.stripe_customer_id, known)
    const changes = await apply(parts, customer, facts, read, done)
    if (changes) return changes
  }
  throw new Error('a customer is read too often at once; the job runs again')
}
