import { one, type Db, type Tx } from '../platform/db/index.ts'
import { newId } from '../platform/ids.ts'
import type { RefundFact } from './facts.ts'
import type { PlanOfPrice, Reduced, SubscriptionRow } from './reduce.ts'

/** Numbers the reads of a customer, so that an older one never overwrites a newer. */
export const beginSync = (db: Db, customerId: string): Promise<{ seq: bigint; began: string }> =>
  one(db<{ seq: bigint; began: string }[]>`
    update billing_customers set sync_begun = sync_begun + 1 where id = ${customerId}
    returning sync_begun as seq, clock_timestamp()::text as began`)

export type LockedCustomer = { user_id: string | null; sync_applied: bigint; erased_at: Date | null }

/** The user's row first, then the customer's: in the order of an erasure. */
export async function lockCustomer(tx: Tx, customerId: string): Promise<LockedCustomer | undefined> {
  await tx`select from users where id = (select user_id from billing_customers where id = ${customerId}) for key share`
  const [row] = await tx<LockedCustomer[]>`
    select user_id, sync_applied, erased_at from billing_customers where id = ${customerId} for update`
  return row
}

export const noteSync = (tx: Tx, customerId: string, seq: bigint, trialUsed: boolean) => tx`
  update billing_customers
     set sync_applied = ${seq},
         trial_used_at = coalesce(trial_used_at, case when ${trialUsed} then clock_timestamp() end)
   where id = ${customerId}`

export const knownSubscriptions = async (db: Db, customerId: string): Promise<string[]> =>
  (
    await db<{ id: string }[]>`
      select stripe_subscription_id as id from subscriptions
       where customer_id = ${customerId} and stripe_subscription_id is not null and status <> 'canceled'`
  ).map(({ id }) => id)

/** The plans of a customer's subscriptions as they are written, by Stripe's id. */
export const heldPlans = async (tx: Tx, customerId: string): Promise<Map<string, PlanOfPrice>> =>
  new Map(
    (
      await tx<{ id: string; plan_id: string; period: PlanOfPrice['period'] }[]>`
        select stripe_subscription_id as id, plan_id, plan_type as period from subscriptions
         where customer_id = ${customerId} and stripe_subscription_id is not null`
    ).map(({ id, plan_id, period }) => [id, { planId: plan_id, period }]),
  )

/** Grants whose time is over make room. @returns whether one still stands */
export async function settleGrants(tx: Tx, userId: string, now: Date): Promise<boolean> {
  await tx`
    update subscriptions set status = 'canceled', ended_at = end_date, updated_at = clock_timestamp()
     where user_id = ${userId} and source <> 'stripe' and status = 'active' and end_date <= ${now}`
  const [grant] = await tx`
    select from subscriptions where user_id = ${userId} and source <> 'stripe' and status in ('active', 'past_due')`
  return grant !== undefined
}

/**
 * What runs out, since it was paid at another account of Stripe, makes room for what gives a plan at this one; for what
 * lapsed here only once its own time is over.
 * @param here subscriptions that Stripe knows now
 * @returns whether one still stands
 */
export async function endForeign(
  tx: Tx,
  userId: string,
  here: readonly string[],
  { now, givesPlan }: { now: Date; givesPlan: boolean },
): Promise<boolean> {
  const foreign = tx`
    user_id = ${userId} and source = 'stripe' and status in ('active', 'past_due') and not auto_renew
      and stripe_subscription_id <> all (${here as string[]})`
  await tx`
    update subscriptions
       set status = 'canceled', end_date = least(end_date, ${now}), ended_at = ${now}, updated_at = clock_timestamp()
     where ${foreign} and (${givesPlan} or end_date <= ${now})`
  const [left] = await tx`select from subscriptions where ${foreign}`
  return left !== undefined
}

export type Change = {
  stripeId: string
  fields: string[]
  before: { status: string; lapsed_at: Date | null } | undefined
}

type Held = {
  plan_id: string
  plan_type: string
  status: string
  start_date: Date
  end_date: Date | null
  grace_until: Date | null
  auto_renew: boolean
  amount_minor: number | null
  currency: string | null
  trial_end: Date | null
  lapsed_at: Date | null
  ended_at: Date | null
}

const same = (a: unknown, b: unknown): boolean =>
  a instanceof Date && b instanceof Date ? a.getTime() === b.getTime() : a === b

/**
 * Writes a subscription as it should be.
 * @returns what changed, undefined for nothing
 */
export async function writeSubscription(
  tx: Tx,
  owner: { userId: string; customerId: string },
  row: SubscriptionRow,
  now: Date,
): Promise<Change | undefined> {
  const [held] = await tx<Held[]>`
    select plan_id, plan_type, status, start_date, end_date, grace_until, auto_renew, amount_minor, currency, trial_end,
           lapsed_at, ended_at
      from subscriptions where stripe_subscription_id = ${row.stripeId} for update`
  const lapsed = row.status === 'past_due' && row.graceUntil !== null && row.graceUntil <= now
  const ended = row.status === 'canceled'
  const wanted: Held = {
    plan_id: row.planId,
    plan_type: row.planType,
    status: row.status,
    start_date: row.start,
    // What ended before its time ended then, whatever was paid for.
    end_date: ended && held?.status === 'canceled' ? held.end_date : ended && row.end > now ? now : row.end,
    grace_until: row.graceUntil,
    auto_renew: row.autoRenew,
    amount_minor: row.amount,
    currency: row.currency,
    trial_end: row.trialEnd,
    lapsed_at: lapsed ? (held?.lapsed_at ?? now) : null,
    ended_at: ended ? (held?.ended_at ?? (row.end > now ? now : row.end)) : null,
  }
  if (!held) {
    await tx`
      insert into subscriptions ${tx({
        id: newId(),
        user_id: owner.userId,
        customer_id: owner.customerId,
        source: 'stripe',
        stripe_subscription_id: row.stripeId,
        ...wanted,
      })}`
    return { stripeId: row.stripeId, fields: ['new'], before: undefined }
  }
  const fields = (Object.keys(wanted) as (keyof Held)[]).filter((name) => !same(held[name], wanted[name]))
  if (fields.length === 0) return undefined
  await tx`
    update subscriptions set ${tx(wanted, ...fields)}, updated_at = clock_timestamp()
     where stripe_subscription_id = ${row.stripeId}`
  return { stripeId: row.stripeId, fields, before: held }
}

export type NewPayment = { id: string; amount_minor: number; currency: string; paid_at: Date; plan: string | null }

/** A refund as Stripe has it: one that we asked for, or one made on Stripe's own pages. */
async function writeRefund(tx: Tx, customerId: string, chargeId: string, fact: RefundFact): Promise<void> {
  const known = await tx`
    update refunds r set stripe_refund_id = ${fact.id}, status = ${fact.status}
      from payments p
     where p.stripe_charge_id = ${chargeId} and r.payment_id = p.id
       and (r.stripe_refund_id = ${fact.id} or (r.stripe_refund_id is null and r.id::text = ${fact.ours}))`
  if (known.count > 0) return
  await tx`
    insert into refunds (id, payment_id, customer_id, stripe_refund_id, amount_minor, reason, status, by_user, created_at)
    select ${newId()}, p.id, ${customerId}, ${fact.id}, ${fact.amount}, ${fact.reason}, ${fact.status}, false, ${fact.created}
      from payments p where p.stripe_charge_id = ${chargeId}
    on conflict (stripe_refund_id) do nothing`
}

/** @returns payments that were not there before */
export async function writePayments(tx: Tx, customerId: string, rows: Reduced['payments']): Promise<NewPayment[]> {
  const fresh: NewPayment[] = []
  for (const { charge, invoice, planId } of rows) {
    const status = charge.disputed
      ? 'disputed'
      : charge.refunded >= charge.amount
        ? 'refunded'
        : charge.refunded > 0
          ? 'partially_refunded'
          : 'paid'
    const [row] = await tx<(NewPayment & { is_new: boolean })[]>`
      insert into payments as p (id, customer_id, stripe_payment_intent_id, stripe_charge_id, stripe_invoice_id,
                                 stripe_subscription_id, plan_id, amount_minor, currency, refunded_minor, status, paid_at)
      values (${newId()}, ${customerId}, ${charge.intent}, ${charge.id}, ${invoice?.id ?? null},
              ${invoice?.subscription ?? null}, ${planId}, ${charge.amount}, ${charge.currency}, ${charge.refunded},
              ${status}, ${charge.created})
      on conflict (stripe_charge_id) do update
         set refunded_minor = excluded.refunded_minor, status = excluded.status,
             stripe_invoice_id = coalesce(excluded.stripe_invoice_id, p.stripe_invoice_id),
             stripe_subscription_id = coalesce(excluded.stripe_subscription_id, p.stripe_subscription_id),
             plan_id = coalesce(p.plan_id, excluded.plan_id)
       where (p.refunded_minor, p.status, p.stripe_invoice_id) is distinct from
             (excluded.refunded_minor, excluded.status, coalesce(excluded.stripe_invoice_id, p.stripe_invoice_id))
      returning id, amount_minor, currency, paid_at, (select name from plans where id = p.plan_id) as plan, xmax = 0 as is_new`
    if (row?.is_new) fresh.push(row)
    for (const refund of charge.refunds) await writeRefund(tx, customerId, charge.id, refund)
  }
  return fresh
}

export async function writeInvoices(tx: Tx, customerId: string, rows: Reduced['invoices']): Promise<void> {
  for (const { fact, planId } of rows) {
    await tx`
      insert into invoices as i (id, customer_id, stripe_invoice_id, stripe_subscription_id, plan_id, number, status, total_minor,
                                 paid_minor, currency, period_start, period_end, created_at)
      values (${newId()}, ${customerId}, ${fact.id}, ${fact.subscription}, ${planId}, ${fact.number}, ${fact.status},
              ${fact.total}, ${fact.paid}, ${fact.currency}, ${fact.periodStart}, ${fact.periodEnd}, ${fact.created})
      on conflict (stripe_invoice_id) do update
         set number = excluded.number, status = excluded.status, total_minor = excluded.total_minor,
             paid_minor = excluded.paid_minor
       where (i.number, i.status, i.total_minor, i.paid_minor) is distinct from
             (excluded.number, excluded.status, excluded.total_minor, excluded.paid_minor)`
  }
}

/** An order by its id, and the subscription that Stripe made of it. */
export type OrderAtStripe = { order: string; subscription: string }

/** Orders whose subscription was paid or has ended; whose first payment is under way; whose was given up. */
export type OrdersNow = { done: OrderAtStripe[]; processing: OrderAtStripe[]; givenUp: OrderAtStripe[] }

/**
 * Writes what became of orders. Also which subscription is theirs, should Stripe's answer have been lost: its key is
 * forgotten before a bank debit has come, and the next try must not begin a second one. A page's order has the page's id.
 */
export async function settleOrders(tx: Tx, customerId: string, orders: OrdersNow): Promise<void> {
  const set = (to: string, from: string[], made: OrderAtStripe[]) => tx`
    update billing_orders o
       set state = ${to},
           stripe_id = case when o.kind = 'checkout' then o.stripe_id else coalesce(o.stripe_id, m.subscription) end
      from unnest(${made.map(({ order }) => order)}::text[], ${made.map(({ subscription }) => subscription)}::text[])
             as m(id, subscription)
     where o.customer_id = ${customerId} and o.state = any (${from}) and o.id::text = m.id`
  await set('done', ['open', 'processing'], orders.done)
  // Also of one that was given up too late: its debit is under way all the same.
  await set('processing', ['open', 'dropped'], orders.processing)
  await set('dropped', ['open', 'processing'], orders.givenUp)
}

export const markApplied = (tx: Tx, stripeCustomerId: string, began: string, now: Date) => tx`
  update billing_events set applied_at = ${now}
   where stripe_customer_id = ${stripeCustomerId} and applied_at is null and received_at <= ${began}::text::timestamptz`
