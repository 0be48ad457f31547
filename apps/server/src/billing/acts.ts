import { z } from 'zod'
import type { ActPayload } from './acts-queue.ts'
import { customerById } from './customers.ts'
import type { Parts } from './parts.ts'
import { isMissing, isRefusal } from './stripe.ts'
import { syncCustomer } from './sync.ts'

const Payload = z.object({
  customer: z.uuid(),
  subscription: z.string(),
  why: z.enum(['duplicate', 'orphan', 'refunded', 'disputed', 'unpaid', 'ended']),
  refund: z.array(z.string()),
  // Jobs of an earlier release name none.
  void: z.array(z.string()).default([]),
}) satisfies z.ZodType<ActPayload>

/** A charge that cannot be given back any more has been, or its bank did it. */
const ALREADY_BACK = new Set(['charge_already_refunded', 'charge_disputed'])

async function giveBack(parts: Parts, chargeId: string, why: ActPayload['why']): Promise<void> {
  const { sdk } = parts.stripe()
  try {
    await sdk.refunds.create(
      { charge: chargeId, ...(why === 'duplicate' ? { reason: 'duplicate' } : {}), metadata: { why } },
      { idempotencyKey: `${why}:${chargeId}:refund` },
    )
  } catch (error) {
    if (!isRefusal(error) || !ALREADY_BACK.has((error as { code?: string }).code ?? '')) throw error
  }
}

/** Closes an invoice; one that was paid meanwhile, or is being paid, is judged by a later read. */
async function closeInvoice(parts: Parts, invoiceId: string): Promise<void> {
  const { sdk } = parts.stripe()
  try {
    await sdk.invoices.voidInvoice(invoiceId, {}, { idempotencyKey: `invoice:${invoiceId}:void` })
  } catch (error) {
    if (!isRefusal(error)) throw error
  }
}

/** Ends a subscription at Stripe now; one that has ended already is fine. */
export async function endAtStripe(parts: Parts, subscription: string, idempotencyKey: string): Promise<void> {
  const { sdk } = parts.stripe()
  const { status } = await sdk.subscriptions.retrieve(subscription)
  if (status === 'canceled' || status === 'incomplete_expired') return
  try {
    await sdk.subscriptions.cancel(subscription, {}, { idempotencyKey })
  } catch (error) {
    if (!isMissing(error)) throw error
  }
}

/** Money first: what was given back whole ends by itself at the next read, even if we are killed in between. */
export const actJob =
  (parts: Parts) =>
  async (payload: unknown): Promise<void> => {
    const { customer: customerId, ...act } = Payload.parse(payload)
    for (const chargeId of act.refund) await giveBack(parts, chargeId, act.why)
    for (const invoiceId of act.void) await closeInvoice(parts, invoiceId)
    if (act.why !== 'ended') await endAtStripe(parts, act.subscription, `${act.why}:${act.subscription}:cancel`)
    const customer = await customerById(parts.db, customerId)
    if (customer?.stripe_customer_id)
      await syncCustomer(parts, { ...customer, stripe_customer_id: customer.stripe_customer_id }, act)
  }
