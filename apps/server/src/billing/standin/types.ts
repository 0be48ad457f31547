/** The objects of Stripe's API that the stand-in keeps, in the wire shape of the pinned version; ids stand for what `expand` may open. */
export type Metadata = Record<string, string>

export type Customer = {
  id: string
  object: 'customer'
  created: number
  livemode: false
  email: string | null
  name: string | null
  currency: string | null
  /** Minor units; below zero is credit for coming invoices. */
  balance: number
  metadata: Metadata
  address: { country: string; postal_code: string | null } | null
  invoice_settings: { default_payment_method: string | null }
}
export type BalanceTransaction = {
  id: string
  object: 'customer_balance_transaction'
  created: number
  livemode: false
  type: 'adjustment'
  customer: string
  amount: number
  currency: string
  description: string | null
  ending_balance: number
  metadata: Metadata
}
export type Product = {
  id: string
  object: 'product'
  created: number
  livemode: false
  active: boolean
  name: string
  metadata: Metadata
}
export type Price = {
  id: string
  object: 'price'
  created: number
  livemode: false
  active: boolean
  currency: string
  unit_amount: number
  product: string
  lookup_key: string | null
  type: 'recurring'
  recurring: { interval: 'day' | 'week' | 'month' | 'year'; interval_count: number; usage_type: 'licensed' }
  metadata: Metadata
}
/** What a test card does when it is charged; the last two are bank debits, whose money comes or fails days later. */
export type CardBehaviour = 'pays' | 'declines' | 'asks' | 'pays-later' | 'fails-later'
export type PaymentMethod = {
  id: string
  object: 'payment_method'
  created: number
  livemode: false
  type: 'card' | 'sepa_debit'
  customer: string | null
  card?: { brand: string; last4: string; exp_month: number; exp_year: number; country: string }
  sepa_debit?: { last4: string; country: string }
}
/** Whether Stripe computes tax by itself, and for whom. */
export type AutomaticTax = { enabled: boolean; liability: { type: 'self' } | null }
export type TotalTax = {
  amount: number
  tax_behavior: 'exclusive'
  tax_rate_details: null
  taxability_reason: 'standard_rated'
  taxable_amount: number
  type: 'tax_rate_details'
}
export type Coupon = {
  id: string
  object: 'coupon'
  created: number
  livemode: false
  percent_off: number | null
  amount_off: number | null
  currency: string | null
  duration: 'once' | 'forever'
  valid: boolean
}
export type PromotionCode = {
  id: string
  object: 'promotion_code'
  created: number
  livemode: false
  active: boolean
  code: string
  promotion: { type: 'coupon'; coupon: string }
}
export type SubscriptionStatus =
  'incomplete' | 'incomplete_expired' | 'trialing' | 'active' | 'past_due' | 'canceled' | 'unpaid' | 'paused'
export type SubscriptionItem = {
  id: string
  object: 'subscription_item'
  created: number
  current_period_start: number
  current_period_end: number
  price: Price
  quantity: number
  subscription: string
  metadata: Metadata
}
export type Subscription = {
  id: string
  object: 'subscription'
  created: number
  livemode: false
  customer: string
  status: SubscriptionStatus
  cancel_at_period_end: boolean
  cancel_at: number | null
  canceled_at: number | null
  cancellation_details: { comment: string | null; feedback: null; reason: null }
  ended_at: number | null
  trial_start: number | null
  trial_end: number | null
  start_date: number
  currency: string
  collection_method: 'charge_automatically'
  default_payment_method: string | null
  latest_invoice: string | null
  pending_setup_intent: string | null
  automatic_tax: AutomaticTax & { disabled_reason: null }
  items: { object: 'list'; data: SubscriptionItem[]; has_more: false; url: string }
  metadata: Metadata
}
export type InvoiceLine = {
  id: string
  object: 'line_item'
  amount: number
  currency: string
  description: string
  period: { start: number; end: number }
  pricing: { type: 'price_details'; price_details: { price: string; product: string }; unit_amount_decimal: string }
}
export type Invoice = {
  id: string
  object: 'invoice'
  created: number
  livemode: false
  customer: string
  number: string | null
  status: 'draft' | 'open' | 'paid' | 'uncollectible' | 'void'
  billing_reason: 'subscription_create' | 'subscription_cycle' | 'subscription_update'
  currency: string
  subtotal: number
  total: number
  total_excluding_tax: number
  total_taxes: TotalTax[]
  automatic_tax: AutomaticTax & { disabled_reason: null; provider: 'stripe' | null; status: 'complete' | null }
  amount_due: number
  amount_paid: number
  amount_remaining: number
  starting_balance: number
  ending_balance: number | null
  attempt_count: number
  auto_advance: boolean
  next_payment_attempt: number | null
  period_start: number
  period_end: number
  hosted_invoice_url: string | null
  invoice_pdf: string | null
  parent: { type: 'subscription_details'; subscription_details: { subscription: string; metadata: Metadata } }
  lines: { object: 'list'; data: InvoiceLine[]; has_more: false; url: string }
  status_transitions: { finalized_at: number | null; paid_at: number | null; voided_at: number | null }
  metadata: Metadata
}
export type InvoicePayment = {
  id: string
  object: 'invoice_payment'
  created: number
  livemode: false
  invoice: string
  amount_requested: number
  amount_paid: number | null
  currency: string
  is_default: boolean
  status: 'open' | 'paid' | 'canceled'
  payment: { type: 'payment_intent'; payment_intent: string }
}
export type PaymentIntent = {
  id: string
  object: 'payment_intent'
  created: number
  livemode: false
  amount: number
  amount_received: number
  currency: string
  customer: string
  client_secret: string
  status:
    'requires_payment_method' | 'requires_confirmation' | 'requires_action' | 'processing' | 'succeeded' | 'canceled'
  payment_method: string | null
  latest_charge: string | null
  last_payment_error: { type: 'card_error'; code: string; message: string } | null
  next_action: { type: 'redirect_to_url'; redirect_to_url: { url: string; return_url: string | null } } | null
  metadata: Metadata
}
export type SetupIntent = {
  id: string
  object: 'setup_intent'
  created: number
  livemode: false
  customer: string
  client_secret: string
  payment_method: string | null
  status: 'requires_payment_method' | 'succeeded'
  usage: 'off_session'
  metadata: Metadata
}
export type Charge = {
  id: string
  object: 'charge'
  created: number
  livemode: false
  amount: number
  amount_captured: number
  amount_refunded: number
  currency: string
  customer: string
  payment_intent: string
  payment_method: string
  paid: boolean
  captured: boolean
  refunded: boolean
  disputed: boolean
  status: 'succeeded' | 'pending' | 'failed'
  failure_code: string | null
  metadata: Metadata
}
export type Refund = {
  id: string
  object: 'refund'
  created: number
  amount: number
  currency: string
  charge: string
  payment_intent: string
  reason: 'duplicate' | 'fraudulent' | 'requested_by_customer' | null
  status: 'succeeded' | 'pending' | 'failed'
  metadata: Metadata
}
export type Dispute = {
  id: string
  object: 'dispute'
  created: number
  livemode: false
  amount: number
  currency: string
  charge: string
  payment_intent: string
  reason: 'fraudulent'
  status: 'needs_response'
}
export type CheckoutSession = {
  id: string
  object: 'checkout.session'
  created: number
  livemode: false
  mode: 'subscription'
  customer: string
  client_reference_id: string | null
  status: 'open' | 'complete' | 'expired'
  payment_status: 'unpaid' | 'paid' | 'no_payment_required'
  url: string | null
  success_url: string
  cancel_url: string | null
  expires_at: number
  currency: string
  subscription: string | null
  invoice: string | null
  automatic_tax: AutomaticTax & { provider: 'stripe' | null; status: 'requires_location_inputs' | 'complete' | null }
  metadata: Metadata
}
export type PortalSession = {
  id: string
  object: 'billing_portal.session'
  created: number
  livemode: false
  customer: string
  return_url: string | null
  url: string
}
export type Thing =
  | Customer
  | BalanceTransaction
  | Product
  | Price
  | PaymentMethod
  | Coupon
  | PromotionCode
  | Subscription
  | Invoice
  | InvoicePayment
  | PaymentIntent
  | SetupIntent
  | Charge
  | Refund
  | Dispute
  | CheckoutSession
  | PortalSession
export type Kind = Thing['object']
export type Of<K extends Kind> = Extract<Thing, { object: K }>

export type StripeEvent = {
  id: string
  object: 'event'
  api_version: string
  created: number
  livemode: boolean
  pending_webhooks: number
  request: { id: string | null; idempotency_key: string | null }
  type: string
  data: { object: unknown; previous_attributes?: Record<string, unknown> }
}
