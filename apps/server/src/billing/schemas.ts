import { z } from 'zod'
import { Id, plainText, Time } from '../platform/http/index.ts'
import { MOST_MINOR, toDecimal } from './money.ts'
import type { PlanRow } from './plan-store.ts'

export const PlanId = z
  .string()
  .regex(/^[a-z0-9_]{1,64}$/, 'must be a plan id such as premium_monthly')
  .meta({ example: 'premium_monthly' })
const PAID_WITH_X = new Set(['XAF', 'XCD', 'XCG', 'XOF', 'XPF'])
/** ISO 4217, as far as people pay in them: no metals, funds or codes for tests, which all begin with X. */
const CURRENCIES = new Set(
  Intl.supportedValuesOf('currency').filter((code) => !code.startsWith('X') || PAID_WITH_X.has(code)),
)
export const Currency = z
  .string()
  .regex(/^[A-Za-z]{3}$/, 'must be an ISO 4217 code such as USD')
  .transform((text) => text.toUpperCase())
  .refine((code) => CURRENCIES.has(code), 'must be an ISO 4217 code such as USD')
export const Amount = z
  .number()
  .positive()
  .max(MOST_MINOR)
  .meta({ description: 'decimal, in the currency beside it', example: 9.99 })
/** An id of Stripe's that a client sends: its prefix and nothing that could change a path. */
export const stripeId = (prefix: string) =>
  z.string().regex(new RegExp(`^${prefix}_[A-Za-z0-9_]{1,100}$`), `must be an id such as ${prefix}_...`)
export const Url = z
  .string()
  .max(2_000)
  .refine((text) => URL.canParse(text), 'must be an address such as https://vpn.example.com/app/billing')

export const Plan = z.object({
  id: z.string(),
  name: z.string(),
  price: z.number(),
  currency: z.string(),
  billing_period: z.enum(['free', 'monthly', 'yearly']),
  features: z.array(z.string()),
  details: z.object({ max_devices: z.int(), max_connections: z.int(), streaming_support: z.boolean() }),
  description: z.string().nullable(),
  trial_days: z.int(),
  prices: z.array(z.object({ currency: z.string(), amount: z.number() })),
})

/** A plan as the contract shows it. */
export const planView = (plan: PlanRow): z.infer<typeof Plan> => ({
  id: plan.id,
  name: plan.name,
  price: toDecimal(plan.price_minor, plan.currency),
  currency: plan.currency,
  billing_period: plan.billing_period,
  features: plan.features,
  details: {
    max_devices: plan.max_devices,
    max_connections: plan.max_connections,
    streaming_support: plan.streaming_support,
  },
  description: plan.description,
  trial_days: plan.trial_days,
  prices: plan.prices.map(({ currency, amount_minor }) => ({ currency, amount: toDecimal(amount_minor, currency) })),
})

export const StaffPlan = Plan.extend({ tier: z.enum(['free', 'premium']), position: z.int(), is_active: z.boolean() })
export const staffPlanView = (plan: PlanRow): z.infer<typeof StaffPlan> => ({
  ...planView(plan),
  tier: plan.tier,
  position: plan.position,
  is_active: plan.is_active,
})

export const PlanFields = z.strictObject({
  name: plainText(1, 100),
  description: plainText(0, 500).nullable().optional(),
  tier: z.enum(['free', 'premium']),
  billing_period: z.enum(['free', 'monthly', 'yearly']),
  prices: z
    .array(z.strictObject({ currency: Currency, amount: Amount }))
    .max(20)
    .meta({ description: 'the first is shown, and charged when no currency is asked for' }),
  max_devices: z.int().min(0).max(1000),
  max_connections: z.int().min(0).max(1000),
  streaming_support: z.boolean(),
  features: z.array(z.string().regex(/^[a-z0-9_]{1,64}$/)).max(50),
  trial_days: z.int().min(0).max(730),
  position: z.int().min(0).max(1000),
  is_active: z.boolean(),
})

export const Status = z.object({
  plan: z.string(),
  plan_type: z.enum(['monthly', 'yearly', 'free']),
  status: z.enum(['active', 'past_due', 'canceled']),
  start_date: Time,
  end_date: Time.nullable(),
  auto_renew: z.boolean(),
})

export const Payment = z.object({
  id: Id,
  plan: z.string().nullable(),
  amount: z.number(),
  refunded_amount: z.number(),
  currency: z.string(),
  status: z.enum(['paid', 'partially_refunded', 'refunded', 'disputed']),
  created_at: Time,
  invoice_id: Id.nullable(),
})

export const Invoice = z.object({
  id: Id,
  number: z.string().nullable(),
  plan: z.string().nullable(),
  status: z.string(),
  total: z.number(),
  amount_paid: z.number(),
  currency: z.string(),
  period_start: Time,
  period_end: Time,
  created_at: Time,
  hosted_url: z.string().nullable(),
  pdf_url: z.string().nullable(),
})

export const Refund = z.object({
  refund_id: Id,
  payment_id: Id,
  amount: z.number(),
  currency: z.string(),
  status: z.enum(['pending', 'succeeded', 'failed']),
  reason: z.string(),
  created_at: Time,
})
