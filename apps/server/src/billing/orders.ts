import { maybeOne, one, type Db, type Tx } from '../platform/db/index.ts'
import { AppError, Conflict } from '../platform/errors.ts'
import type { Idempotency } from '../platform/http/index.ts'
import { newId } from '../platform/ids.ts'
import { enqueue } from '../platform/jobs.ts'
import { ensureCustomer, type KnownCustomer } from './customers.ts'
import { nowOf, type Parts } from './parts.ts'
import type { PlanRow } from './plan-store.ts'
import { fromStripe, isRefusal } from './stripe.ts'
import { lockCustomer, settleGrants } from './sync-store.ts'

export const TIDY_JOB = 'billing.tidy'

export type Order = {
  id: string
  kind: 'checkout' | 'subscribe' | 'intent'
  wish: string
  state: string
  stripe_id: string | null
}

/** The order that a purchase goes on with, and whether it was begun before. */
export type OpenOrder = { order: Order; begun: boolean }

/** Below the day for which Stripe remembers an idempotency key, and a checkout page lives. */
const REUSED_HOURS = 12

const columns = (db: Db) => db`id, kind, wish, state, stripe_id`

/** 409 while any plan runs or is owed, but for the subscription `own` of Stripe's. */
async function assertNothingRuns(parts: Parts, tx: Tx, userId: string, own: string | null = null): Promise<void> {
  await settleGrants(tx, userId, nowOf(parts))
  const [live] = await tx<{ source: string }[]>`
    select source from subscriptions
     where user_id = ${userId} and status in ('active', 'past_due') and stripe_subscription_id is distinct from ${own}`
  if (!live) return
  if (live.source !== 'stripe') throw new Conflict('You have a plan already. You can subscribe once it has ended.')
  throw new Conflict('You have a subscription already. Change it instead.')
}

/** @throws {Conflict} another plan than this subscription of Stripe's runs or is owed */
export const assertNoOther = (parts: Parts, userId: string, subscription: string): Promise<void> =>
  parts.db.begin((tx) => assertNothingRuns(parts, tx, userId, subscription))

export type Wanted = {
  kind: Order['kind']
  plan: PlanRow
  /** Everything Stripe will be asked, so that one key never meets two questions. */
  wish: object
  /** Whether it will be paid at once, and so may be bought while a bank debit is under way; no unless it can be told. */
  paysAtOnce?: () => Promise<boolean>
}

type OrderWish = { kind: Order['kind']; plan: string; wish: string; besideDebit: boolean }

const debitsUnderWay = (db: Db, customerId: string): Promise<Order[]> => db<Order[]>`
  select ${columns(db)} from billing_orders where customer_id = ${customerId} and state = 'processing'`

async function takeOrder(
  parts: Parts,
  tx: Tx,
  customer: KnownCustomer,
  userId: string,
  wanted: OrderWish,
): Promise<OpenOrder> {
  await lockCustomer(tx, customer.id)
  await assertNothingRuns(parts, tx, userId)
  const debits = await debitsUnderWay(tx, customer.id)
  const same = debits.find(({ kind, wish }) => kind !== 'checkout' && wish === wanted.wish)
  if (same) return { order: same, begun: true }
  if (debits.length > 0 && !wanted.besideDebit) throw new Conflict('A bank debit for your plan is under way already.')
  const open = await maybeOne(tx<(Order & { fresh: boolean })[]>`
    select ${columns(tx)}, created_at > clock_timestamp() - make_interval(hours => ${REUSED_HOURS}) as fresh
      from billing_orders where customer_id = ${customer.id} and state = 'open'`)
  if (open?.fresh && open.wish === wanted.wish) return { order: open, begun: true }
  if (open) {
    await tx`update billing_orders set state = 'dropped' where id = ${open.id}`
    await enqueue(tx, TIDY_JOB, { customer: customer.id }, `${TIDY_JOB}:${customer.id}`)
  }
  const order = await one(tx<Order[]>`
    insert into billing_orders (id, customer_id, kind, plan_id, wish)
    values (${newId()}, ${customer.id}, ${wanted.kind}, ${wanted.plan}, ${wanted.wish})
    returning ${columns(tx)}`)
  return { order, begun: false }
}

/**
 * The order for a wish: a repeat goes on with the one that stands, so that a second call, or one after a crash, asks
 * Stripe with the same key; another wish takes its place.
 * @throws {Conflict} something runs already, or waits for its bank debit
 */
export async function openOrder(
  parts: Parts,
  userId: string,
  wanted: Wanted,
  idempotency: Idempotency | null,
): Promise<OpenOrder & { customer: KnownCustomer }> {
  const customer = await ensureCustomer(parts, userId)
  if (idempotency?.found) {
    const order = await maybeOne(parts.db<Order[]>`
      select ${columns(parts.db)} from billing_orders where id = ${idempotency.found} and customer_id = ${customer.id}`)
    // Nothing came of one that was given up before Stripe knew of it: it must not be done now, beside what came after.
    if (order && (order.state !== 'dropped' || order.stripe_id !== null)) return { order, begun: true, customer }
  }
  const wish = JSON.stringify(wanted.wish)
  const debits = await debitsUnderWay(parts.db, customer.id)
  const besideDebit = debits.length > 0 && (await wanted.paysAtOnce?.()) === true
  const taken = await parts.db.begin(async (tx) => {
    const { kind, plan } = wanted
    const open = await takeOrder(parts, tx, customer, userId, { kind, plan: plan.id, wish, besideDebit })
    await idempotency?.mark(tx, open.order.id)
    return open
  })
  return { ...taken, customer }
}

export const noteStripeId = (db: Db, orderId: string, stripeId: string) => db`
  update billing_orders set stripe_id = ${stripeId} where id = ${orderId}`

export const dropOrder = (db: Db, orderId: string) => db`
  update billing_orders set state = 'dropped' where id = ${orderId} and state in ('open', 'processing')`

/**
 * Asks Stripe for an order. A clear no ends it, so that the next try is a new one; after anything else it stays open and
 * is asked again with the same key.
 */
export async function askForOrder<T>(parts: Parts, orderId: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    if (isRefusal(error)) await dropOrder(parts.db, orderId)
    throw fromStripe(error) ?? error
  }
}

/** 403 where paying needs a verified address. */
export function assertMayPay(parts: Parts, isVerified: boolean): void {
  if (parts.config.REQUIRE_EMAIL_VERIFICATION && !isVerified)
    throw new AppError('EMAIL_NOT_VERIFIED', 'Verify your e-mail address first.')
}
