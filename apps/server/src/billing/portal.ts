import { maybeOne } from '../platform/db/index.ts'
import { ensureCustomer, nextCustomerAct } from './customers.ts'
import { assertOwnUrl } from './checkout.ts'
import type { Parts } from './parts.ts'
import { asking } from './stripe.ts'

/** A session of Stripe's customer portal: cards, open invoices, receipts. */
export async function openPortal(
  parts: Parts,
  userId: string,
  returnUrl: string | undefined,
): Promise<{ url: string }> {
  const { sdk } = parts.stripe()
  const return_url = returnUrl ?? `${parts.publicUrl}/app/billing`
  assertOwnUrl(parts, 'return_url', return_url)
  const { url } = await asking(async () => {
    const customer = await ensureCustomer(parts, userId)
    return sdk.billingPortal.sessions.create(
      { customer: customer.stripe_customer_id, return_url },
      { idempotencyKey: await nextCustomerAct(parts.db, customer.id) },
    )
  })
  return { url }
}

/**
 * Makes a card the one that is charged from now on. Without a card: a set-up in which the app or Stripe.js saves one;
 * the card it ends with is then sent here.
 */
export async function changePaymentMethod(
  parts: Parts,
  userId: string,
  paymentMethodId: string | undefined,
): Promise<{ payment_method_id: string | null; client_secret: string | null }> {
  const { sdk } = parts.stripe()
  return asking(async () => {
    const customer = await ensureCustomer(parts, userId)
    const call = await nextCustomerAct(parts.db, customer.id)
    if (paymentMethodId === undefined) {
      const { client_secret } = await sdk.setupIntents.create(
        { customer: customer.stripe_customer_id, usage: 'off_session', automatic_payment_methods: { enabled: true } },
        { idempotencyKey: call },
      )
      return { payment_method_id: null, client_secret }
    }
    const { id } = await sdk.paymentMethods.attach(
      paymentMethodId,
      { customer: customer.stripe_customer_id },
      { idempotencyKey: `${call}:attach` },
    )
    await sdk.customers.update(
      customer.stripe_customer_id,
      { invoice_settings: { default_payment_method: id } },
      { idempotencyKey: `${call}:customer` },
    )
    const live = await maybeOne(parts.db<{ stripe_subscription_id: string }[]>`
      select stripe_subscription_id from subscriptions
       where user_id = ${userId} and source = 'stripe' and status in ('active', 'past_due')`)
    if (live)
      await sdk.subscriptions.update(
        live.stripe_subscription_id,
        { default_payment_method: id },
        { idempotencyKey: `${call}:subscription` },
      )
    return { payment_method_id: id, client_secret: null }
  })
}
