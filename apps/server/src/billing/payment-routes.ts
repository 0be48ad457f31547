import { z } from 'zod'
import { principalOf } from '../auth/index.ts'
import { ErrorBody, Id, listAnswer, listOf, PageQuery, plainText, type App } from '../platform/http/index.ts'
import { createCheckout } from './checkout.ts'
import { confirmPayment } from './confirm.ts'
import { invoiceOf, paymentHistory } from './history.ts'
import type { Parts } from './parts.ts'
import { changePaymentMethod, openPortal } from './portal.ts'
import { createIntent } from './purchase.ts'
import { readRefund, refundPayment } from './refunds.ts'
import { Amount, Currency, Invoice, Payment, PlanId, Refund, stripeId, Url } from './schemas.ts'
import { buyerOf } from './subscription-routes.ts'

const errors = { 400: ErrorBody, 403: ErrorBody, 404: ErrorBody, 409: ErrorBody, 503: ErrorBody }

/** Paying, and what was paid. Card data goes to the payment provider alone, never through here. */
export function paymentRoutes(app: App, parts: Parts): void {
  app.post(
    '/api/v1/payments/create',
    {
      config: { needs: 'billing:use', rule: 'PAYMENTS', idempotent: true },
      schema: {
        tags: ['payments'],
        summary: 'A hosted checkout page for a plan',
        description: 'Either `plan_id` or `plan_type`. The URLs must lead to this service or to an allowed origin.',
        body: z.strictObject({
          plan_type: z.enum(['monthly', 'yearly']).optional(),
          plan_id: PlanId.optional(),
          currency: Currency.optional(),
          success_url: Url,
          cancel_url: Url,
        }),
        response: {
          201: z.object({
            checkout_url: z.string(),
            client_secret: z.string().nullable(),
            payment_intent_id: z.string().nullable(),
            session_id: z.string(),
          }),
          ...errors,
        },
      },
    },
    async (req, reply) => reply.code(201).send(await createCheckout(parts, buyerOf(req), req.body)),
  )

  app.post(
    '/api/v1/payments/create-intent',
    {
      config: { needs: 'billing:use', rule: 'PAYMENTS', idempotent: true },
      schema: {
        tags: ['payments'],
        summary: 'The intent of a first invoice, for an in-app card sheet',
        body: z.strictObject({ plan_id: PlanId, currency: Currency.optional() }),
        response: {
          201: z.object({ client_secret: z.string().nullable(), payment_intent_id: z.string().nullable() }),
          ...errors,
        },
      },
    },
    async (req, reply) => reply.code(201).send(await createIntent(parts, buyerOf(req), req.body)),
  )

  app.post(
    '/api/v1/payments/confirm',
    {
      config: { needs: 'billing:use', rule: 'PAYMENTS', idempotent: true },
      schema: {
        tags: ['payments'],
        summary: 'Confirm an intent of the caller',
        body: z.strictObject({ payment_intent_id: stripeId('pi'), payment_method_id: stripeId('pm').optional() }),
        response: { 200: z.object({ payment_intent_id: z.string(), status: z.string() }), ...errors },
      },
    },
    async (req) => confirmPayment(parts, buyerOf(req), req.body),
  )

  app.post(
    '/api/v1/payments/refund',
    {
      config: { needs: 'billing:use', rule: 'PAYMENTS', idempotent: true },
      schema: {
        tags: ['payments'],
        summary: 'Give a payment back',
        description:
          'Staff who may change users: any payment, whole or in part. A customer: once, the first payment, whole, within the refund window; the subscription ends at once.',
        body: z.strictObject({ payment_id: Id, amount: Amount.optional(), reason: plainText(1, 500) }),
        response: { 201: Refund, ...errors },
      },
    },
    async (req, reply) => {
      const { userId, permissions } = principalOf(req)
      const asker = {
        userId,
        isStaff: permissions.has('users:write'),
        requestId: req.id,
        idempotency: req.idempotency,
      }
      return reply.code(201).send(await refundPayment(parts, asker, req.body))
    },
  )

  app.get(
    '/api/v1/payments/refund/:refund_id',
    {
      config: { needs: 'billing:use' },
      schema: {
        tags: ['payments'],
        summary: 'A refund',
        params: z.strictObject({ refund_id: Id }),
        response: { 200: Refund, 404: ErrorBody, 503: ErrorBody },
      },
    },
    async (req) => {
      parts.stripe()
      const { userId, permissions } = principalOf(req)
      return readRefund(parts, { userId, isStaff: permissions.has('payments:read') }, req.params.refund_id)
    },
  )

  app.get(
    '/api/v1/billing/history',
    {
      config: { needs: 'billing:use' },
      schema: {
        tags: ['billing'],
        summary: "The caller's payments, newest first",
        querystring: PageQuery,
        response: { 200: listOf(Payment), 503: ErrorBody },
      },
    },
    async (req) => {
      parts.stripe()
      const { total, data } = await paymentHistory(parts.db, principalOf(req).userId, req.query)
      return listAnswer(req.url, req.query, total, data)
    },
  )

  app.get(
    '/api/v1/billing/invoices/:invoice_id',
    {
      config: { needs: 'billing:use' },
      schema: {
        tags: ['billing'],
        summary: 'An invoice, with links to its page and PDF',
        params: z.strictObject({ invoice_id: Id }),
        response: { 200: Invoice, 404: ErrorBody, 503: ErrorBody },
      },
    },
    async (req) => invoiceOf(parts, principalOf(req).userId, req.params.invoice_id),
  )

  app.put(
    '/api/v1/billing/payment-method',
    {
      config: { needs: 'billing:use', rule: 'PAYMENTS' },
      schema: {
        tags: ['billing'],
        summary: 'Change the card that is charged',
        description: 'Without `payment_method_id`: a client secret, with which the app saves a card first.',
        body: z.strictObject({ payment_method_id: stripeId('pm').optional() }),
        response: {
          200: z.object({ payment_method_id: z.string().nullable(), client_secret: z.string().nullable() }),
          ...errors,
        },
      },
    },
    async (req) => changePaymentMethod(parts, principalOf(req).userId, req.body.payment_method_id),
  )

  app.post(
    '/api/v1/billing/portal',
    {
      config: { needs: 'billing:use', rule: 'PAYMENTS', idempotent: true },
      schema: {
        tags: ['billing'],
        summary: 'A session of the customer portal',
        body: z.strictObject({ return_url: Url.optional() }),
        response: { 201: z.object({ url: z.string() }), ...errors },
      },
    },
    async (req, reply) => reply.code(201).send(await openPortal(parts, principalOf(req).userId, req.body.return_url)),
  )
}
