import type Stripe from 'stripe'

/** A payment as far as changes of plan after it matter. */
export type Paid = {
  stripe_customer_id: string
  stripe_subscription_id: string | null
  stripe_invoice_id: string | null
  paid_at: Date
  currency: string
}

const MOST = 500

/** The subscription's invoices since the payment, its own left out; oldest first. */
async function invoicesAfter(sdk: Stripe, paid: Paid): Promise<Stripe.Invoice[]> {
  if (paid.stripe_subscription_id === null) return []
  const all = await sdk.invoices
    .list({ customer: paid.stripe_customer_id, subscription: paid.stripe_subscription_id, limit: 100 })
    .autoPagingToArray({ limit: MOST })
  const since = Math.floor(paid.paid_at.getTime() / 1000)
  return all
    .filter(({ id, created, status }) => id !== paid.stripe_invoice_id && created >= since && status !== 'void')
    .toReversed()
}

/** Whether the plan was changed after this payment: its money then also stands in a credit or in another payment. */
export const wasChangedAfter = async (sdk: Stripe, paid: Paid): Promise<boolean> =>
  (await invoicesAfter(sdk, paid)).some(({ billing_reason }) => billing_reason === 'subscription_update')

/** Minor units of this payment that changes of plan turned into credit; what was paid later brings its own. */
async function creditOf(sdk: Stripe, paid: Paid): Promise<number> {
  let credit = 0
  for (const { amount_paid, total } of await invoicesAfter(sdk, paid)) {
    if (amount_paid > 0) break
    credit += Math.max(0, -total)
  }
  return credit
}

/**
 * The credit to be taken back beside a refund: what a payment gave back and what it left as credit never exceed it.
 * @param left minor units of the payment that stay paid after the refund
 */
export async function creditToTake(sdk: Stripe, paid: Paid, left: number): Promise<number> {
  const credit = await creditOf(sdk, paid)
  if (credit <= left) return 0
  const customer = await sdk.customers.retrieve(paid.stripe_customer_id)
  if (customer.deleted || customer.currency?.toUpperCase() !== paid.currency) return 0
  return Math.max(0, Math.min(credit, Math.max(0, -customer.balance)) - left)
}

/** What a refund did to the customer's credit so far, as Stripe has it. */
export type Moved = { times: number; /** Minor units, less what was given back. */ taken: number }

export const NOT_MOVED: Moved = { times: 0, taken: 0 }

/** Reads it at Stripe: a key may be forgotten, or was never heard of. */
export async function movedFor(sdk: Stripe, paid: Paid, refundId: string): Promise<Moved> {
  const all = await sdk.customers
    .listBalanceTransactions(paid.stripe_customer_id, { limit: 100 })
    .autoPagingToArray({ limit: MOST })
  const own = all.filter(({ metadata }) => metadata?.refund === refundId)
  return { times: own.length, taken: own.reduce((sum, { amount }) => sum + amount, 0) }
}

/** Takes credit, or gives it back below zero; once however often it is asked for within a day. @returns what stands then */
export async function moveCredit(
  sdk: Stripe,
  paid: Paid,
  refundId: string,
  amount: number,
  { times, taken }: Moved,
): Promise<Moved> {
  await sdk.customers.createBalanceTransaction(
    paid.stripe_customer_id,
    {
      amount,
      currency: paid.currency.toLowerCase(),
      description: 'Refund of the payment behind this credit',
      metadata: { refund: refundId },
    },
    // Taken, given back and taken once more are three; the same one of them asked for twice is one.
    { idempotencyKey: `refund:${refundId}:credit:${times}:${amount}` },
  )
  return { times: times + 1, taken: taken + amount }
}
