import { maybeOne } from '../platform/db/index.ts'
import { Conflict, NotFound } from '../platform/errors.ts'
import { knownCustomer } from './customers.ts'
import { assertMayPay, countAttempt } from './orders.ts'
import type { Parts } from './parts.ts'
import { asking, idOf } from './stripe.ts'
import { syncCustomer } from './sync.ts'

/**
 * Confirms the intent of the caller's own purchase, with a card or with the one it has.
 * @throws {NotFound} no such intent, or another customer's; {InvalidInput} the card was declined; {Conflict}
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
  const order = await maybeOne(parts.db<{ id: string }[]>`
    select id from billing_orders where customer_id = ${customer.id} and kind <> 'checkout' order by created_at desc limit 1`)
  const open = ['requires_payment_method', 'requires_confirmation', 'requires_action'].includes(intent.status)
  if (open && order && (body.payment_method_id !== undefined || intent.status === 'requires_confirmation')) {
    const attempt = await countAttempt(parts.db, order.id)
    intent = await asking(() =>
      sdk.paymentIntents.confirm(
        intent.id,
        {
          ...(body.payment_method_id === undefined ? {} : { payment_method: body.payment_method_id }),
          return_url: `${parts.publicUrl}/app/billing`,
        },
        { idempotencyKey: `order:${order.id}:confirm:${attempt}` },
      ),
    )
  }
  await syncCustomer(parts, customer).catch((err: unknown) =>
    parts.log.warn({ err, customer: customer.id }, 'a payment is not written yet'),
  )
  return { payment_intent_id: intent.id, status: intent.status }
}
