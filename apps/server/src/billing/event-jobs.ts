import { z } from 'zod'
import { maybeOne, type Db } from '../platform/db/index.ts'
import { customerById, customerByStripeId, type Customer } from './customers.ts'
import { ABANDONED } from './facts.ts'
import { nowOf, type Parts } from './parts.ts'
import { idOf, isMissing, isRefusal } from './stripe.ts'
import { syncCustomer } from './sync.ts'

const isKnown = (customer: Customer | undefined): customer is Customer & { stripe_customer_id: string } =>
  typeof customer?.stripe_customer_id === 'string'

/** Events of customers that are not ours (another product of the same Stripe account) are done with. */
async function closeEvents(parts: Parts, stripeCustomerId: string): Promise<void> {
  await parts.db`
    update billing_events set applied_at = ${nowOf(parts)} where stripe_customer_id = ${stripeCustomerId} and applied_at is null`
}

/** Applies whatever happened to a customer: his present state is read and written. */
export const syncJob =
  (parts: Parts) =>
  async (payload: unknown): Promise<void> => {
    if (!parts.billingEnabled()) return
    const { customer: stripeId } = z.object({ customer: z.string() }).parse(payload)
    const customer = await customerByStripeId(parts.db, stripeId)
    if (isKnown(customer)) await syncCustomer(parts, customer)
    else await closeEvents(parts, stripeId)
  }

type EventRow = { id: string; object_id: string | null; type: string }

/** Whom an object is about that does not say so itself: refunds and disputes name a charge, payments an invoice. */
async function customerOfObject(parts: Parts, { type, object_id }: EventRow): Promise<string | null> {
  if (object_id === null) return null
  const { sdk } = parts.stripe()
  const ofCharge = async (charge: string | { id: string } | null | undefined) => {
    const id = idOf(charge)
    return id === null ? null : idOf((await sdk.charges.retrieve(id)).customer)
  }
  if (type.startsWith('charge.dispute.')) return ofCharge((await sdk.disputes.retrieve(object_id)).charge)
  if (type.startsWith('refund.') || type === 'charge.refund.updated')
    return ofCharge((await sdk.refunds.retrieve(object_id)).charge)
  if (type.startsWith('radar.')) return ofCharge((await sdk.radar.earlyFraudWarnings.retrieve(object_id)).charge)
  if (type.startsWith('invoice_payment.')) {
    const invoice = idOf((await sdk.invoicePayments.retrieve(object_id)).invoice)
    return invoice === null ? null : idOf((await sdk.invoices.retrieve(invoice)).customer)
  }
  return null
}

/** Applies an event that names no customer. */
export const resolveJob =
  (parts: Parts) =>
  async (payload: unknown): Promise<void> => {
    if (!parts.billingEnabled()) return
    const { event: eventId } = z.object({ event: z.string() }).parse(payload)
    const event = await maybeOne(parts.db<EventRow[]>`
      select id, object_id, type from billing_events where id = ${eventId} and applied_at is null`)
    if (!event) return
    let stripeId: string | null = null
    try {
      stripeId = await customerOfObject(parts, event)
    } catch (error) {
      if (!isMissing(error)) throw error
    }
    const customer = stripeId === null ? undefined : await customerByStripeId(parts.db, stripeId)
    if (isKnown(customer)) await syncCustomer(parts, customer)
    await parts.db`update billing_events set applied_at = ${nowOf(parts)} where id = ${eventId}`
  }

/**
 * Ends a subscription that nobody has paid. It may be paid at any moment: the list is old already, so it is looked at once
 * more; what is paid between that look and the end is known by our note, and goes back (`reduce`).
 */
async function endAbandoned(parts: Parts, id: string): Promise<void> {
  const { sdk } = parts.stripe()
  const { status } = await sdk.subscriptions.retrieve(id)
  if (status !== 'incomplete') return
  try {
    await sdk.subscriptions.cancel(
      id,
      { cancellation_details: { comment: ABANDONED } },
      { idempotencyKey: `abandoned:${id}:cancel` },
    )
  } catch (error) {
    if (!isMissing(error)) throw error
  }
}

export const FORGET_JOB = 'billing.forget'

const CustomerPayload = z.object({ customer: z.uuid() })

/** Closes what an order that was given up left at Stripe, so that it is not paid beside the next one. */
export const tidyJob =
  (parts: Parts) =>
  async (payload: unknown): Promise<void> => {
    if (!parts.billingEnabled()) return
    const customer = await customerById(parts.db, CustomerPayload.parse(payload).customer)
    if (!isKnown(customer)) return
    const { sdk } = parts.stripe()
    const of = { customer: customer.stripe_customer_id, limit: 100 }
    const dropped = new Set(
      (
        await parts.db<{ id: string }[]>`
          select id from billing_orders where customer_id = ${customer.id} and state = 'dropped'`
      ).map(({ id }) => id),
    )
    const sessions = await sdk.checkout.sessions.list({ ...of, status: 'open' })
    for (const { id, metadata } of sessions.data) {
      if (!dropped.has(metadata?.order ?? '')) continue
      try {
        await sdk.checkout.sessions.expire(id, {}, { idempotencyKey: `session:${id}:expire` })
      } catch (error) {
        // It was paid or ran out meanwhile: the next read of the customer judges it.
        if (!isRefusal(error)) throw error
      }
    }
    const begun = await sdk.subscriptions.list({ ...of, status: 'incomplete' })
    for (const { id, metadata } of begun.data) if (dropped.has(metadata.order ?? '')) await endAbandoned(parts, id)
  }

/**
 * An erased account: Stripe's customer goes, which ends what he pays. Charges stay there, as the law wants. Where billing
 * is off the customer waits, unforgotten, until it is on (`requeueForgets`).
 */
export const forgetJob =
  (parts: Parts) =>
  async (payload: unknown): Promise<void> => {
    if (!parts.billingEnabled()) return
    const customer = await customerById(parts.db, CustomerPayload.parse(payload).customer)
    if (!isKnown(customer) || customer.user_id !== null) return
    try {
      await parts
        .stripe()
        .sdk.customers.del(customer.stripe_customer_id, {}, { idempotencyKey: `customer:${customer.id}:delete` })
    } catch (error) {
      if (!isMissing(error)) throw error
    }
    await parts.db`update billing_customers set forgotten_at = clock_timestamp() where id = ${customer.id}`
  }

/** Queues erased accounts that Stripe still knows: their job found billing off, or Stripe away for too long. */
export async function requeueForgets(db: Db): Promise<void> {
  await db`
    select graphile_worker.add_job(${FORGET_JOB}, json_build_object('customer', id), job_key := ${FORGET_JOB} || ':' || id)
      from billing_customers
     where user_id is null and forgotten_at is null and stripe_customer_id is not null`
}
