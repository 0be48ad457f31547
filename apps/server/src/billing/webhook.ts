import Stripe from 'stripe'
import { z } from 'zod'
import { InvalidInput, Unavailable } from '../platform/errors.ts'
import { ErrorBody, type App } from '../platform/http/index.ts'
import type { Inbox, ReceivedEvent } from './inbox.ts'
import type { Parts } from './parts.ts'

const BODY_LIMIT = 512 * 1024
/** Seconds a signature may be old or early (Stripe's own default). */
const TOLERANCE_S = 300

/** Families of events that can change what a customer has; others are acknowledged and left alone. */
const RELEVANT =
  /^(checkout\.session|customer\.subscription|customer\.deleted|invoice|invoice_payment|payment_intent|charge|refund|payment_method|setup_intent|radar\.early_fraud_warning)(\.|$)/

/** What is read of an event: a strict reading would break with the next field that Stripe adds. */
const Event = z.object({
  id: z.string().min(1).max(255),
  type: z.string().min(1).max(255),
  created: z.number(),
  livemode: z.boolean(),
  data: z.object({
    object: z.looseObject({
      id: z.string().max(255).optional(),
      object: z.string().optional(),
      customer: z.union([z.string(), z.object({ id: z.string() }), z.null()]).optional(),
    }),
  }),
})

/** The signer of webhooks: any of the secrets, so that one can be rotated. Empty ones sign nothing. */
export function isSigned(body: string, header: string, secrets: readonly string[], nowMs: number): boolean {
  const [stamp] = /(?:^|,)\s*t=(\d{1,12})(?:,|$)/.exec(header)?.slice(1) ?? []
  // The SDK looks at the past alone.
  if (stamp === undefined || Number(stamp) > nowMs / 1000 + TOLERANCE_S) return false
  return secrets.some((secret) => {
    if (secret.trim() === '') return false
    try {
      return Stripe.webhooks.signature?.verifyHeader(body, header, secret, TOLERANCE_S, undefined, nowMs) === true
    } catch {
      return false
    }
  })
}

function customerOf({ type, data: { object } }: z.infer<typeof Event>): string | null {
  if (type === 'customer.deleted' || object.object === 'customer') return object.id ?? null
  const { customer } = object
  if (customer === undefined || customer === null) return null
  return typeof customer === 'string' ? customer : customer.id
}

function readEvent(body: string): z.infer<typeof Event> {
  try {
    return Event.parse(JSON.parse(body))
  } catch {
    throw new InvalidInput([], 'This is not an event.')
  }
}

/**
 * Stripe's calls. Judged on the raw bytes, stored, answered; the work is a job's.
 * The route has a scope of its own, since only it reads its body as it came.
 */
export function webhookRoute(app: App, parts: Parts, inbox: Inbox, secrets: () => readonly string[]): void {
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: BODY_LIMIT }, (_req, body, done) =>
      done(null, body),
    )
    scope.post(
      '/api/v1/payments/webhook',
      {
        bodyLimit: BODY_LIMIT,
        config: { needs: 'public', rule: 'WEBHOOK' },
        schema: {
          tags: ['payments'],
          summary: "The payment provider's events",
          description:
            'Signed by `stripe-signature` over the raw body. Repeated, late and unordered events are fine: each makes us read the present state.',
          response: { 200: z.object({ received: z.boolean() }), 400: ErrorBody, 503: ErrorBody },
        },
        onRequest: async (req) => {
          if (typeof req.headers['stripe-signature'] !== 'string')
            throw new InvalidInput([{ field: 'stripe-signature', message: 'is missing' }])
          if (!parts.billingEnabled() || secrets().length === 0)
            throw new Unavailable('Webhooks are not configured here.')
        },
      },
      async (req) => {
        const header = String(req.headers['stripe-signature'])
        const body = Buffer.isBuffer(req.body) ? req.body.toString('utf8') : ''
        if (!isSigned(body, header, secrets(), parts.clock.now())) {
          parts.attempts.failed(req.raw, 'webhook')
          throw new InvalidInput([{ field: 'stripe-signature', message: 'is not valid' }])
        }
        const event = readEvent(body)
        if (event.livemode !== parts.stripe().livemode) {
          req.log.warn({ event: event.id, type: event.type }, 'an event of the other mode was left alone')
          return { received: true }
        }
        if (RELEVANT.test(event.type)) await inbox.put(received(event))
        return { received: true }
      },
    )
  })
}

const received = (event: z.infer<typeof Event>): ReceivedEvent => ({
  id: event.id,
  type: event.type,
  created: new Date(event.created * 1000),
  objectId: event.data.object.id ?? null,
  customer: customerOf(event),
})
