import { z } from 'zod'
import { customerById } from './customers.ts'
import type { Parts } from './parts.ts'
import { isMissing, isRefusal } from './stripe.ts'
import { syncCustomer } from './sync.ts'

const Payload = z.object({
  customer: z.uuid(),
  subscription: z.string(),
  why: z.enum(['duplicate', 'orphan', 'refunded', 'disputed', 'unpaid']),
  refund: z.array(z.string()),
})

/** A charge that cannot be given back any more has been, or its bank did it. */
const ALREADY_BACK = new Set(['charge_already_refunded', 'charge_disputed'])

async function giveBack(parts: Parts, chargeId: string): Promise<void> {
  const { sdk } = parts.stripe()
  try {
    await sdk.refunds.create(
      { charge: chargeId, reason: 'duplicate', metadata: { why: 'duplicate' } },
      { idempotencyKey: `duplicate:${chargeId}:refund` },
    )
  } catch (error) {
    if (!isRefusal(error) || !ALREADY_BACK.has((error as { code?: string }).code ?? '')) throw error
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
    const { customer: customerId, subscription, why, refund } = Payload.parse(payload)
    for (const chargeId of refund) await giveBack(parts, chargeId)
    await endAtStripe(parts, subscription, `${why}:${subscription}:cancel`)
    const customer = await customerById(parts.db, customerId)
    if (customer?.stripe_customer_id)
      await syncCustomer(parts, { ...customer, stripe_customer_id: customer.stripe_customer_id })
  }
