import { z } from 'zod'
import { audit } from '../platform/audit.ts'
import { maybeOne, one, violatedConstraint, type Db, type Tx } from '../platform/db/index.ts'
import { Conflict, Forbidden, invalidField, NotFound, type AppError } from '../platform/errors.ts'
import type { Idempotency } from '../platform/http/index.ts'
import { newId } from '../platform/ids.ts'
import { enqueue } from '../platform/jobs.ts'
import type { KnownCustomer } from './customers.ts'
import { notify } from './mails.ts'
import { moneyText, toDecimal, toMinor } from './money.ts'
import { nowOf, type Parts } from './parts.ts'
import {
  creditToTake,
  moveCredit,
  movedFor,
  NOT_MOVED,
  wasChangedAfter,
  type Moved,
  type Paid,
} from './refund-credit.ts'
import { asking, isRefusal } from './stripe.ts'
import { syncCustomer } from './sync.ts'

export const REFUND_JOB = 'billing.refund'
const DAY_MS = 86_400_000
/** Well below the day for which Stripe remembers an idempotency key. */
const KEY_TRUSTED_MS = DAY_MS / 2

export type Asker = { userId: string; isStaff: boolean; requestId: string; idempotency: Idempotency | null }
export type RefundWish = { payment_id: string; amount?: number | undefined; reason: string }

type Payment = {
  id: string
  customer_id: string | null
  user_id: string | null
  /** Whether Stripe knows the customer; not where the payment was made at another account or mode of it. */
  known_at_stripe: boolean
  amount_minor: number
  currency: string
  status: string
  paid_at: Date
  is_first: boolean
}
type Refund = {
  id: string
  payment_id: string
  amount_minor: number
  currency: string
  status: 'pending' | 'succeeded' | 'failed'
  reason: string
  created_at: Date
  by_user: boolean
  user_id: string | null
}

/** A payment that we gave back ourselves (one too many, too late) counts for nothing: the next is the first. */
const lockPayment = (tx: Tx, id: string): Promise<Payment | undefined> =>
  maybeOne(tx<Payment[]>`
    select p.id, p.customer_id, c.user_id, c.stripe_customer_id is not null as known_at_stripe, p.amount_minor, p.currency,
           p.status, p.paid_at,
           not exists (select from payments e
                        where e.customer_id = p.customer_id and (e.paid_at, e.id) < (p.paid_at, p.id)
                          and not (e.status = 'refunded' and exists (
                                select from refunds d where d.payment_id = e.id and d.asked_by is null
                                   and d.reason in ('duplicate', 'ended', 'orphan')))) as is_first
      from payments p left join billing_customers c on c.id = p.customer_id
     where p.id = ${id} for update of p`)

const refundById = (db: Db, id: string): Promise<Refund | undefined> =>
  maybeOne(db<Refund[]>`
    select r.id, r.payment_id, r.amount_minor, p.currency, r.status, r.reason, r.created_at, r.by_user, c.user_id
      from refunds r join payments p on p.id = r.payment_id left join billing_customers c on c.id = r.customer_id
     where r.id = ${id}`)

/** What no refund, done or under way, has taken yet. */
async function leftOf(tx: Tx, payment: Payment): Promise<number> {
  const { taken } = await one(tx<{ taken: bigint }[]>`
    select coalesce(sum(amount_minor), 0) as taken from refunds where payment_id = ${payment.id} and status <> 'failed'`)
  return payment.amount_minor - Number(taken)
}

/** A customer's own right: the first payment, whole, soon after it. */
function assertOwnRight(parts: Parts, payment: Payment, wish: RefundWish): void {
  if (wish.amount !== undefined)
    throw invalidField('amount', 'is for staff: a refund of your own is for the whole payment')
  const until = payment.paid_at.getTime() + parts.config.REFUND_WINDOW_DAYS * DAY_MS
  if (!payment.is_first) throw new Forbidden('Only the first payment can be refunded here. Please ask support.')
  if (parts.clock.now() > until)
    throw new Forbidden(`A payment can be refunded within ${parts.config.REFUND_WINDOW_DAYS} days. Please ask support.`)
}

/**
 * A change of plan turned a part of the first payment into credit, or was paid on top of it: then it takes staff to say
 * what goes back.
 */
async function assertUnchanged(parts: Parts, userId: string, paymentId: string): Promise<void> {
  const paid = await maybeOne(parts.db<Paid[]>`
    select c.stripe_customer_id, p.stripe_subscription_id, p.stripe_invoice_id, p.paid_at, p.currency
      from payments p join billing_customers c on c.id = p.customer_id
     where p.id = ${paymentId} and c.user_id = ${userId} and c.stripe_customer_id is not null`)
  if (paid && (await asking(() => wasChangedAfter(parts.stripe().sdk, paid))))
    throw new Forbidden('Your plan was changed after this payment. Please ask support.')
}

async function recordRefund(parts: Parts, tx: Tx, asker: Asker, wish: RefundWish): Promise<string> {
  const payment = await lockPayment(tx, wish.payment_id)
  if (!payment || (!asker.isStaff && payment.user_id !== asker.userId)) throw new NotFound('The payment')
  if (!asker.isStaff) {
    assertOwnRight(parts, payment, wish)
    const [earlier] = await tx`
      select from refunds where customer_id = ${payment.customer_id} and by_user and status <> 'failed'`
    if (earlier) throw new Forbidden('A refund can be asked for once. Please ask support.')
  }
  if (payment.status === 'disputed') throw new Conflict('The bank has taken this payment back.')
  if (!payment.known_at_stripe)
    throw new Conflict('The payment provider in use does not know this payment: refund it where it was made.')
  const left = await leftOf(tx, payment)
  if (!asker.isStaff && left < payment.amount_minor)
    throw new Forbidden('A part of this payment was refunded already. Please ask support.')
  const amount = wish.amount === undefined ? left : toMinor(wish.amount, payment.currency)
  if (left === 0) throw invalidField('payment_id', 'is refunded already')
  if (amount > left) throw invalidField('amount', `is more than is left: ${moneyText(left, payment.currency)}`)
  const id = newId()
  await tx`
    insert into refunds (id, payment_id, customer_id, amount_minor, reason, status, by_user, asked_by, created_at)
    values (${id}, ${payment.id}, ${payment.customer_id}, ${amount}, ${wish.reason}, 'pending', ${!asker.isStaff},
            ${asker.userId}, ${nowOf(parts)})`
  await audit(tx, {
    actor: asker.userId,
    action: 'payment.refunded',
    subject: { type: 'payment', id: payment.id },
    fields: ['refunded_minor'],
    requestId: asker.requestId,
  })
  await enqueue(tx, REFUND_JOB, { refund: id }, `${REFUND_JOB}:${id}`)
  await asker.idempotency?.mark(tx, id)
  return id
}

type Due = Paid & {
  id: string
  amount_minor: number
  /** Of the payment, after this and every other refund. */
  left_minor: bigint
  by_user: boolean
  created_at: Date
  /** Credit that this refund takes back; null before it was judged. */
  credit_minor: number | null
  stripe_charge_id: string
  customer_id: string
  user_id: string | null
  trial_used_at: Date | null
}

const dueRefund = (db: Db, id: string): Promise<Due | undefined> =>
  maybeOne(db<Due[]>`
    select r.id, r.amount_minor, p.currency, r.by_user, r.created_at, r.credit_minor, p.stripe_charge_id, p.stripe_subscription_id,
           p.stripe_invoice_id, p.paid_at, c.id as customer_id, c.stripe_customer_id, c.user_id, c.trial_used_at,
           p.amount_minor - (select sum(o.amount_minor) from refunds o
                              where o.payment_id = p.id and o.status <> 'failed') as left_minor
      from refunds r join payments p on p.id = r.payment_id join billing_customers c on c.id = p.customer_id
     where r.id = ${id} and r.status = 'pending' and r.stripe_refund_id is null and c.stripe_customer_id is not null`)

async function refuse(parts: Parts, { id }: Due, code: string | undefined): Promise<void> {
  await parts.db`update refunds set status = 'failed' where id = ${id} and stripe_refund_id is null`
  parts.log.warn({ refund: id, code }, 'a refund was refused')
}

const tellRefund = async (parts: Parts, tx: Tx, due: Due): Promise<void> => {
  if (due.user_id !== null)
    await notify(parts, tx, `refund:${due.id}`, {
      kind: 'refunded',
      user_id: due.user_id,
      amount: moneyText(due.amount_minor, due.currency),
    })
}

const isKeyTrusted = (parts: Parts, { created_at }: Due): boolean =>
  parts.clock.now() - created_at.getTime() < KEY_TRUSTED_MS

/**
 * Takes back the credit that would stand beside the refund. A later try looks at Stripe whether an earlier one took it; if
 * none did, invoices may have used it meanwhile: it is judged anew, before that look, so that it never judges what a try
 * beside it has left over. The amount is written down before it is asked for, and tries that run side by side take the same.
 */
async function takeCreditFor(parts: Parts, due: Due): Promise<Moved> {
  const { sdk } = parts.stripe()
  const amount = await creditToTake(sdk, due, Number(due.left_minor))
  const moved = due.credit_minor === null ? NOT_MOVED : await movedFor(sdk, due, due.id)
  if (moved.taken > 0) return moved
  const { credit_minor: credit } = await one(parts.db<{ credit_minor: number }[]>`
    update refunds
       set credit_minor = case when credit_minor is not distinct from ${due.credit_minor}::integer then ${amount}
                               else credit_minor end
     where id = ${due.id} returning credit_minor`)
  return credit > 0 ? moveCredit(sdk, due, due.id, credit, moved) : moved
}

/**
 * A refund whose answer was lost so long ago that its key may be forgotten is looked for at Stripe first: it carries our
 * id, by which a read of the customer finds it.
 * @returns whether it has been made
 */
async function wasMade(parts: Parts, due: Due, customer: KnownCustomer): Promise<boolean> {
  if (isKeyTrusted(parts, due)) return false
  await syncCustomer(parts, customer)
  if (await dueRefund(parts.db, due.id)) return false
  await parts.db.begin((tx) => tellRefund(parts, tx, due))
  return true
}

/** Asks Stripe for a recorded refund; the same key however often. A clear no makes it `failed`. */
export async function performRefund(parts: Parts, refundId: string): Promise<void> {
  const due = await dueRefund(parts.db, refundId)
  if (!due) return
  const customer: KnownCustomer = { ...due, id: due.customer_id }
  if (await wasMade(parts, due, customer)) return
  const { sdk } = parts.stripe()
  let moved = NOT_MOVED
  try {
    if (due.by_user && (await wasChangedAfter(sdk, due))) return await refuse(parts, due, 'plan_changed')
    moved = await takeCreditFor(parts, due)
    const made = await sdk.refunds.create(
      {
        charge: due.stripe_charge_id,
        amount: due.amount_minor,
        reason: 'requested_by_customer',
        metadata: { refund: due.id, ...(due.by_user ? { ends: 'subscription' } : {}) },
      },
      { idempotencyKey: `refund:${due.id}` },
    )
    await parts.db.begin(async (tx) => {
      await tx`
        update refunds set stripe_refund_id = ${made.id}, status = ${made.status === 'succeeded' ? 'succeeded' : 'pending'}
         where id = ${due.id} and stripe_refund_id is null`
      await tellRefund(parts, tx, due)
    })
  } catch (error) {
    if (!isRefusal(error)) throw error
    if (moved.taken > 0) await moveCredit(sdk, due, due.id, -moved.taken, moved)
    await refuse(parts, due, (error as { code?: string }).code)
  }
  await syncCustomer(parts, customer)
}

export const refundJob =
  (parts: Parts) =>
  async (payload: unknown): Promise<void> =>
    performRefund(parts, z.object({ refund: z.uuid() }).parse(payload).refund)

const refundView = (row: Refund) => ({
  refund_id: row.id,
  payment_id: row.payment_id,
  amount: toDecimal(row.amount_minor, row.currency),
  currency: row.currency,
  status: row.status,
  reason: row.reason,
  created_at: row.created_at,
})

/** What the database itself refuses, should two calls have come past our own look. */
function fromDatabase(error: unknown): AppError | undefined {
  const constraint = violatedConstraint(error)
  if (constraint === 'refunds_once_per_account')
    return new Forbidden('A refund can be asked for once. Please ask support.')
  if (constraint === 'refunds_within_payment') return invalidField('amount', 'is more than is left')
  return undefined
}

/**
 * Gives a payment back, whole or in part. Recorded first; when Stripe is away it stays `pending` and is asked again.
 * @throws {NotFound} also for another's payment; {Forbidden} the customer's own right does not reach so far;
 *   {InvalidInput} more than is left
 */
export async function refundPayment(parts: Parts, asker: Asker, wish: RefundWish) {
  parts.stripe()
  let id = asker.idempotency?.found ?? undefined
  if (id === undefined || !(await refundById(parts.db, id))) {
    if (!asker.isStaff) await assertUnchanged(parts, asker.userId, wish.payment_id)
    try {
      id = await parts.db.begin((tx) => recordRefund(parts, tx, asker, wish))
    } catch (error) {
      throw fromDatabase(error) ?? error
    }
  }
  const refundId = id
  await performRefund(parts, refundId).catch((err: unknown) =>
    parts.log.warn({ err, refund: refundId }, 'a refund waits for the payment provider'),
  )
  const row = await refundById(parts.db, refundId)
  if (!row) throw new NotFound('The refund')
  return refundView(row)
}

/** @throws {NotFound} also for another's refund */
export async function readRefund(parts: Parts, asker: Pick<Asker, 'userId' | 'isStaff'>, refundId: string) {
  const row = await refundById(parts.db, refundId)
  if (!row || (!asker.isStaff && row.user_id !== asker.userId)) throw new NotFound('The refund')
  return refundView(row)
}
