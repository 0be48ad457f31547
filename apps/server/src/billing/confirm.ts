import { Conflict, NotFound } from '../platform/errors.ts'
import { knownCustomer, nextCustomerAct } from './customers.ts'
import { assertMayPay, assertNoOther } from './orders.ts'
import type { Parts } from './parts.ts'
import { asking, idOf } from './stripe.ts'
import { syncCustomer } from './sync.ts'

const OPEN = new Set(['requires_payment_method', 'requires_confirmation', 'requires_action'])
/** Invoices to look through for an intent that is open: it is among the newest. */
const LATEST = 100

/**
 * The subscription that an intent pays for.
 * @throws {Conflict} none, or one that is over: paying would buy nothing
 */
async function subscriptionToPay(parts: Parts, stripeCustomerId: string, intentId: string): Promise<string> {
  const { sdk } = parts.stripe()
  const invoices = await sdk.invoices.list({ customer: stripeCustomerId, limit: LATEST, expand: ['data.payments'] })
  const invoice = invoices.data.find(({ payments }) =>
    payments?.data.some(({ payment }) => idOf(payment.payment_intent) === intentId),
  )
  const id = idOf(invoice?.parent?.subscription_details?.subscription)
  const { status } = id === null ? { status: 'canceled' } : await sdk.subscriptions.retrieve(id)
  if (id === null || status === 'canceled' || status === 'incomplete_expired')
    throw new Conflict('What this payment was for is over. Begin a new one.')
  return id
}

/**
 * Confirms the intent of the caller's own purchase, or of an invoice that is owed, with a card or with the one it has.
 * @throws {NotFound} no such intent, or another customer's; {InvalidInput} the card was declined
 * @throws {Conflict} the payment was cancelled, or another plan runs
 */
export async function confirmPayment(
  parts: Parts,
  caller: { userId: string; isVerified: boolean },
  body: { payment_intent_id: string; payment_method_id?: string | undefined },
): Promise<{ payment_intent_id: string; status: string }> {
  const { sdk } = parts.stripe()
  assertMayPay(parts, caller.isVerified)
  const customer = await knownCustomer(parts.db, caller.userId)
  if (!customer) throw new NotFound('The payment')
  let intent = await asking(() => sdk.paymentIntents.retrieve(body.payment_intent_id))
  if (idOf(intent.customer) !== customer.stripe_customer_id) throw new NotFound('The payment')
  if (intent.status === 'canceled') throw new Conflict('This payment was cancelled. Begin a new one.')
  if (OPEN.has(intent.status)) {
    const subscription = await asking(() => subscriptionToPay(parts, customer.stripe_customer_id, intent.id))
    await assertNoOther(parts, caller.userId, subscription)
    if (body.payment_method_id !== undefined || intent.status === 'requires_confirmation') {
      const idempotencyKey = await nextCustomerAct(parts.db, customer.id)
      intent = await asking(() =>
        sdk.paymentIntents.confirm(
          intent.id,
          {
            ...(body.payment_method_id === undefined ? {} : { payment_method: body.payment_method_id }),
            return_url: `${parts.publicUrl}/app/billing`,
          },
          { idempotencyKey },
        ),
      )
    }
  }
  await syncCustomer(parts, customer).catch((err: unknown) =>
    parts.log.warn({ err, customer: customer.id }, 'a payment is not written yet'),
  )
  return { payment_intent_id: intent.id, status: intent.status }
}
