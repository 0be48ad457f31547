import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { principalOf } from '../auth/index.ts'
import { subscriptionOf } from '../entitlements/index.ts'
import { ErrorBody, plainText, type App } from '../platform/http/index.ts'
import { cancelSubscription, changePlan, resumeSubscription } from './change.ts'
import type { Parts } from './parts.ts'
import { listPlans } from './plan-store.ts'
import { subscribe, type Buyer } from './purchase.ts'
import { Plan, PlanId, planView, Status, stripeId } from './schemas.ts'
import { redeemVoucher } from './vouchers.ts'

export const buyerOf = (req: FastifyRequest): Buyer => {
  const { userId, isVerified } = principalOf(req)
  return { userId, isVerified, idempotency: req.idempotency }
}

const errors = { 400: ErrorBody, 403: ErrorBody, 409: ErrorBody, 503: ErrorBody }

/** Plans, and the caller's own subscription. */
export function subscriptionRoutes(app: App, parts: Parts): void {
  const statusOf = (userId: string) => subscriptionOf(parts.db, userId)

  app.get(
    '/api/v1/subscriptions/plans',
    {
      config: { needs: 'public' },
      schema: {
        tags: ['subscriptions'],
        summary: 'The plans that are sold',
        description:
          '`billing_enabled` is false where no payment provider is set up: plans can then be given by staff alone.',
        response: { 200: z.object({ plans: z.array(Plan), billing_enabled: z.boolean() }) },
      },
    },
    async () => ({ plans: (await listPlans(parts.db)).map(planView), billing_enabled: parts.billingEnabled() }),
  )

  app.get(
    '/api/v1/subscriptions/status',
    {
      config: { needs: 'billing:use' },
      schema: {
        tags: ['subscriptions'],
        summary: 'The plan that counts now',
        response: { 200: Status, 401: ErrorBody },
      },
    },
    async (req) => statusOf(principalOf(req).userId),
  )

  app.post(
    '/api/v1/subscriptions/subscribe',
    {
      config: { needs: 'billing:use', rule: 'PAYMENTS', idempotent: true },
      schema: {
        tags: ['subscriptions'],
        summary: 'Subscribe with a card that is given or on file',
        description:
          'Nulls mean that nothing is left to confirm. `incomplete`: confirm the intent with its client secret. `processing`: a bank debit is under way, the plan begins when its money comes.',
        body: z.strictObject({
          plan_id: PlanId,
          payment_method_id: stripeId('pm').optional(),
          promotion_code: plainText(1, 100).optional(),
        }),
        response: {
          201: z.object({
            plan: z.string(),
            status: z.string(),
            client_secret: z.string().nullable(),
            payment_intent_id: z.string().nullable(),
          }),
          ...errors,
        },
      },
    },
    async (req, reply) => reply.code(201).send(await subscribe(parts, buyerOf(req), req.body)),
  )

  const act = (path: 'cancel' | 'resume', summary: string, run: (parts: Parts, userId: string) => Promise<void>) =>
    app.put(
      `/api/v1/subscriptions/${path}`,
      {
        config: { needs: 'billing:use', rule: 'PAYMENTS' },
        schema: { tags: ['subscriptions'], summary, body: z.strictObject({}), response: { 200: Status, ...errors } },
      },
      async (req) => {
        const { userId } = principalOf(req)
        await run(parts, userId)
        return statusOf(userId)
      },
    )
  act('cancel', 'Cancel at the end of the period', cancelSubscription)
  act('resume', 'Take a cancellation back', resumeSubscription)

  app.put(
    '/api/v1/subscriptions/change',
    {
      config: { needs: 'billing:use', rule: 'PAYMENTS' },
      schema: {
        tags: ['subscriptions'],
        summary: 'Change to another plan, with proration',
        body: z.strictObject({ plan_id: PlanId }),
        response: { 200: Status, ...errors },
      },
    },
    async (req) => {
      const caller = principalOf(req)
      await changePlan(parts, caller, req.body.plan_id)
      return statusOf(caller.userId)
    },
  )

  app.post(
    '/api/v1/subscriptions/redeem',
    {
      config: { needs: 'billing:use', rule: 'PAYMENTS', idempotent: true },
      schema: {
        tags: ['subscriptions'],
        summary: 'Redeem a voucher',
        description: 'Also where billing is switched off.',
        body: z.strictObject({ code: plainText(1, 100) }),
        response: { 201: Status, ...errors },
      },
    },
    async (req, reply) => {
      const { userId } = principalOf(req)
      if (req.idempotency?.found !== userId) await redeemVoucher(parts, userId, req.body.code, req.idempotency)
      return reply.code(201).send(await statusOf(userId))
    },
  )
}
