import { createHash } from 'node:crypto'
import Stripe from 'stripe'
import { Conflict, InvalidInput, NotFound, Unavailable, type AppError } from '../platform/errors.ts'

/** The version of Stripe's API that this room was written for; the SDK's types are of the same. */
export const STRIPE_VERSION = '2026-10-28.endive'

const TIMEOUT_MS = 10_000
/** The SDK repeats lost and refused calls with growing pauses; idempotency keys make that safe. */
const RETRIES = 2

export type StripeGate = {
  sdk: Stripe
  /** Events of the other mode are not ours. */
  livemode: boolean
  /** Tells keys apart without telling them. */
  mark: string
  /** It is the stand-in inside this process: no money moves. */
  standin: boolean
}

export type StripeAddress = { key: string; base?: string | undefined; standin?: boolean }

/** The SDK, pinned to our version. Nothing is sent before the first call. */
export function openStripe({ key, base, standin = false }: StripeAddress): StripeGate {
  const url = base === undefined ? undefined : new URL(base)
  const sdk = new Stripe(key, {
    apiVersion: STRIPE_VERSION,
    maxNetworkRetries: RETRIES,
    timeout: TIMEOUT_MS,
    telemetry: false,
    appInfo: { name: 'Prime VPN' },
    ...(url
      ? {
          host: url.hostname,
          port: Number(url.port || (url.protocol === 'https:' ? 443 : 80)),
          protocol: url.protocol === 'https:' ? ('https' as const) : ('http' as const),
        }
      : {}),
  })
  const mark = createHash('sha256').update(`stripe-key\0${key}`).digest('base64url')
  return { sdk, livemode: /^(sk|rk)_live_/.test(key), mark, standin }
}

const {
  StripeAuthenticationError,
  StripeCardError,
  StripeConnectionError,
  StripeError,
  StripeIdempotencyError,
  StripeInvalidRequestError,
  StripeRateLimitError,
} = Stripe.errors

/** Whether Stripe said no for good: asking again will not help. Everything else may or may not have happened. */
export const isRefusal = (error: unknown): boolean =>
  error instanceof StripeCardError || error instanceof StripeInvalidRequestError

/** Whether Stripe answers nobody now, or not us: what holds for one call holds for the next. */
export const isAway = (error: unknown): boolean =>
  error instanceof StripeConnectionError ||
  error instanceof StripeAuthenticationError ||
  error instanceof StripeRateLimitError ||
  (error instanceof StripeError && (error.statusCode ?? 0) >= 500)

export const isMissing = (error: unknown): boolean =>
  error instanceof StripeInvalidRequestError && error.code === 'resource_missing'

/** What Stripe's own words name that a caller of ours sent. */
const FIELD_OF: readonly [RegExp, string][] = [
  [/promotion_code|discount|coupon/, 'promotion_code'],
  [/payment_method|default_source|source|^id$/, 'payment_method_id'],
  [/price|items/, 'plan_id'],
  [/currency/, 'currency'],
  [/amount/, 'amount'],
  [/trial_end/, 'days'],
]

/** Stripe's error as one of ours; nothing of its inside is told. */
export function fromStripe(error: unknown): AppError | undefined {
  if (!(error instanceof StripeError)) return undefined
  if (error instanceof StripeCardError)
    return new InvalidInput(
      [{ field: 'payment_method_id', message: error.message.slice(0, 200) }],
      'The card was not accepted.',
    )
  if (error instanceof StripeIdempotencyError) return new Conflict('The same call is still running. Try again.')
  if (error instanceof StripeInvalidRequestError && error.statusCode === 404) return new NotFound()
  if (error instanceof StripeInvalidRequestError && error.code === 'customer_tax_location_invalid')
    return new InvalidInput(
      [{ field: 'payment_method_id', message: 'carries no address, which tax is computed from' }],
      'An address is needed to compute tax. Please use the payment page.',
    )
  if (error instanceof StripeInvalidRequestError && error.statusCode === 400) {
    const field = FIELD_OF.find(([pattern]) => pattern.test(error.param ?? ''))?.[1]
    if (field !== undefined) return new InvalidInput([{ field, message: 'was not accepted by the payment provider' }])
  }
  return new Unavailable('The payment provider does not answer. Try again in a moment.', error)
}

/** Does a call for a request of ours. @throws our errors instead of Stripe's */
export async function asking<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw fromStripe(error) ?? error
  }
}

/** The id of a field that may have been expanded. */
export const idOf = (value: string | { id: string } | null | undefined): string | null =>
  value === null || value === undefined ? null : typeof value === 'string' ? value : value.id
