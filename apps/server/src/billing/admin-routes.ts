import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { principalOf } from '../auth/index.ts'
import { subscriptionOf } from '../entitlements/index.ts'
import { ErrorBody, Id, listAnswer, listOf, PageQuery, Time, type App } from '../platform/http/index.ts'
import { allPlans, changePlan, createPlan, removePlan, type Actor } from './admin-plans.ts'
import { changeBySupport } from './grants.ts'
import { paymentsOfUser } from './history.ts'
import type { Parts } from './parts.ts'
import { revenue } from './revenue.ts'
import { Payment, PlanFields, PlanId, StaffPlan, staffPlanView, Status } from './schemas.ts'
import { createVouchers, listVouchers } from './vouchers.ts'

const actorOf = (req: FastifyRequest): Actor => ({ userId: principalOf(req).userId, requestId: req.id })
const errors = { 400: ErrorBody, 403: ErrorBody, 404: ErrorBody, 409: ErrorBody }
const Days = z.int().min(1).max(3660)

function planRoutes(app: App, parts: Parts): void {
  app.get(
    '/api/v1/admin/plans',
    {
      config: { needs: 'plans:write' },
      schema: {
        tags: ['admin'],
        summary: 'All plans, also those that are no longer sold',
        response: { 200: z.object({ plans: z.array(StaffPlan) }), 403: ErrorBody },
      },
    },
    async () => ({ plans: (await allPlans(parts)).map(staffPlanView) }),
  )

  app.post(
    '/api/v1/admin/plans',
    {
      config: { needs: 'plans:write', idempotent: true },
      schema: {
        tags: ['admin'],
        summary: 'Make a plan',
        body: PlanFields.extend({ id: PlanId }),
        response: { 201: StaffPlan, ...errors },
      },
    },
    async (req, reply) => {
      const { id, ...wish } = req.body
      return reply.code(201).send(staffPlanView(await createPlan(parts, actorOf(req), id, wish, req.idempotency)))
    },
  )

  app.put(
    '/api/v1/admin/plans/:id',
    {
      config: { needs: 'plans:write' },
      schema: {
        tags: ['admin'],
        summary: 'Change a plan',
        description:
          'Fields that are left out stay. New limits count for those who have the plan at once; running subscriptions keep their price.',
        params: z.strictObject({ id: PlanId }),
        body: PlanFields.partial(),
        response: { 200: StaffPlan, ...errors },
      },
    },
    async (req) => staffPlanView(await changePlan(parts, actorOf(req), req.params.id, req.body)),
  )

  app.delete(
    '/api/v1/admin/plans/:id',
    {
      config: { needs: 'plans:write' },
      schema: {
        tags: ['admin'],
        summary: 'Take a plan from sale',
        description: 'One that nobody ever had is deleted.',
        params: z.strictObject({ id: PlanId }),
        response: { 204: z.null(), ...errors },
      },
    },
    async (req, reply) => {
      await removePlan(parts, actorOf(req), req.params.id)
      return reply.code(204).send(null)
    },
  )
}

function voucherRoutes(app: App, parts: Parts): void {
  app.post(
    '/api/v1/admin/vouchers',
    {
      config: { needs: 'plans:write', idempotent: true },
      schema: {
        tags: ['admin'],
        summary: 'Make vouchers',
        description: 'The codes are shown this once; only their hashes are kept.',
        body: z.strictObject({
          plan_id: PlanId,
          days: Days,
          count: z.int().min(1).max(1000).default(1),
          valid_days: Days.default(365),
        }),
        response: {
          201: z.object({ plan_id: z.string(), days: z.int(), expires_at: Time, codes: z.array(z.string()) }),
          ...errors,
        },
      },
    },
    async (req, reply) => reply.code(201).send(await createVouchers(parts, actorOf(req), req.body, req.idempotency)),
  )

  app.get(
    '/api/v1/admin/vouchers',
    {
      config: { needs: 'plans:write' },
      schema: {
        tags: ['admin'],
        summary: 'Vouchers, newest first, without their codes',
        querystring: PageQuery,
        response: {
          200: listOf(
            z.object({
              id: Id,
              plan_id: z.string(),
              days: z.int(),
              created_at: Time,
              expires_at: Time,
              redeemed_at: Time.nullable(),
            }),
          ),
          403: ErrorBody,
        },
      },
    },
    async (req) => {
      const { data, total } = await listVouchers(parts, req.query)
      return listAnswer(req.url, req.query, total, data)
    },
  )
}

const Money = z.object({
  plan_id: z.string().nullable(),
  subscribers: z.int(),
  mrr: z.number(),
  revenue: z.number(),
})

/** Staff's side: plans, vouchers, somebody's plan, revenue. */
export function billingAdminRoutes(app: App, parts: Parts): void {
  planRoutes(app, parts)
  voucherRoutes(app, parts)

  app.put(
    '/api/v1/admin/users/:id/subscription',
    {
      config: { needs: 'users:write' },
      schema: {
        tags: ['admin'],
        summary: "Give, extend or end somebody's plan",
        description:
          'A paid subscription is extended by moving its next payment, and ended at the payment provider, too.',
        params: z.strictObject({ id: Id }),
        body: z.discriminatedUnion('action', [
          z.strictObject({ action: z.literal('grant'), plan_id: PlanId, days: Days }),
          z.strictObject({ action: z.literal('extend'), days: Days }),
          z.strictObject({ action: z.literal('cancel') }),
        ]),
        response: { 200: Status, ...errors, 503: ErrorBody },
      },
    },
    async (req) => {
      await changeBySupport(parts, actorOf(req), req.params.id, req.body)
      return subscriptionOf(parts.db, req.params.id)
    },
  )

  app.get(
    '/api/v1/admin/users/:id/payments',
    {
      config: { needs: 'payments:read' },
      schema: {
        tags: ['admin'],
        summary: "Somebody's payments, newest first",
        description: 'What a refund needs to be told: the id of a payment, and what of it was given back.',
        params: z.strictObject({ id: Id }),
        querystring: PageQuery,
        response: { 200: listOf(Payment), 400: ErrorBody, 403: ErrorBody, 404: ErrorBody },
      },
    },
    async (req) => {
      const { total, data } = await paymentsOfUser(parts.db, req.params.id, req.query)
      return listAnswer(req.url, req.query, total, data)
    },
  )

  app.get(
    '/api/v1/admin/revenue',
    {
      config: { needs: 'revenue:read' },
      schema: {
        tags: ['admin'],
        summary: 'Recurring revenue, takings and churn',
        querystring: z.strictObject({ days: z.coerce.number().int().min(1).max(3660).default(30) }),
        response: {
          200: z.object({
            days: z.int(),
            currencies: z.array(
              z.object({
                currency: z.string(),
                mrr: z.number(),
                revenue: z.number(),
                refunded: z.number(),
                by_plan: z.array(Money),
              }),
            ),
            subscribers: z.object({ active: z.int(), trialing: z.int(), past_due: z.int(), granted: z.int() }),
            churn: z.object({ ended: z.int(), at_start: z.int(), rate: z.number() }),
          }),
          403: ErrorBody,
        },
      },
    },
    async (req) => revenue(parts, req.query.days),
  )
}
