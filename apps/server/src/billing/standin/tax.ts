import { badParam, StripeFailure } from './failure.ts'
import type { Store } from './store.ts'
import type { AutomaticTax, Customer, Invoice, TotalTax } from './types.ts'

/** One rate for every place: enough to see that what is paid is more than the price. */
const PERCENT = 20

export const taxSetting = (enabled: boolean): AutomaticTax => ({
  enabled,
  liability: enabled ? { type: 'self' } : null,
})

type Taxed = Pick<Invoice, 'subtotal' | 'total' | 'total_excluding_tax' | 'total_taxes' | 'automatic_tax'>

/** The amounts of an invoice, tax on top of the price. */
export function taxed(amount: number, enabled: boolean): Taxed {
  const tax = enabled ? Math.round((amount * PERCENT) / 100) : 0
  const line: TotalTax = {
    amount: tax,
    tax_behavior: 'exclusive',
    tax_rate_details: null,
    taxability_reason: 'standard_rated',
    taxable_amount: amount,
    type: 'tax_rate_details',
  }
  return {
    subtotal: amount,
    total: amount + tax,
    total_excluding_tax: amount,
    total_taxes: enabled ? [line] : [],
    automatic_tax: {
      ...taxSetting(enabled),
      disabled_reason: null,
      provider: enabled ? 'stripe' : null,
      status: enabled ? 'complete' : null,
    },
  }
}

/**
 * Tax needs a place: the customer's address, else that of the way to pay (docs.stripe.com/tax/customer-locations).
 * @throws Stripe's 400 `customer_tax_location_invalid`
 */
export function assertTaxable(store: Store, customer: Customer, method: string | null): void {
  if (customer.address !== null || (method !== null && store.find('payment_method', method))) return
  throw new StripeFailure(400, {
    type: 'invalid_request_error',
    code: 'customer_tax_location_invalid',
    message: "The customer's location isn't recognized. Set a valid customer address to calculate tax automatically.",
  })
}

/** A checkout page asks for the address itself, but keeps it only where it is told to. @throws Stripe's 400 */
export function assertCheckoutTaxable(customer: Customer, keepsAddress: boolean): void {
  if (customer.address === null && !keepsAddress)
    throw badParam(
      'automatic_tax',
      "Automatic tax in Checkout needs a valid address on the Customer, or `customer_update[address]` set to 'auto'.",
      'customer_tax_location_invalid',
    )
}
