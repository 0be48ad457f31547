import { maybeOne, type Db } from '../platform/db/index.ts'
import { NotFound } from '../platform/errors.ts'
import type { Page } from '../platform/http/index.ts'
import { toDecimal } from './money.ts'
import type { Parts } from './parts.ts'
import { asking } from './stripe.ts'

type PaymentRow = {
  id: string
  plan_id: string | null
  amount_minor: number
  refunded_minor: number
  currency: string
  status: 'paid' | 'partially_refunded' | 'refunded' | 'disputed'
  paid_at: Date
  invoice_id: string | null
}

/** The caller's payments, newest first, from our own tables. */
export async function paymentHistory(db: Db, userId: string, { page, per_page }: Page) {
  const rows = await db<(PaymentRow & { total: bigint })[]>`
    select p.id, p.plan_id, p.amount_minor, p.refunded_minor, p.currency, p.status, p.paid_at, i.id as invoice_id,
           count(*) over () as total
      from payments p join billing_customers c on c.id = p.customer_id
      left join invoices i on i.stripe_invoice_id = p.stripe_invoice_id
     where c.user_id = ${userId}
     order by p.paid_at desc, p.id desc limit ${per_page} offset ${(page - 1) * per_page}`
  const [counted] =
    rows.length > 0
      ? rows
      : await db<{ total: bigint }[]>`
          select count(*) as total from payments p join billing_customers c on c.id = p.customer_id where c.user_id = ${userId}`
  return {
    total: Number(counted?.total ?? 0n),
    data: rows.map((row) => ({
      id: row.id,
      plan: row.plan_id,
      amount: toDecimal(row.amount_minor, row.currency),
      refunded_amount: toDecimal(row.refunded_minor, row.currency),
      currency: row.currency,
      status: row.status,
      created_at: row.paid_at,
      invoice_id: row.invoice_id,
    })),
  }
}

/** The same of any account, for staff. @throws {NotFound} no such user */
export async function paymentsOfUser(db: Db, userId: string, page: Page) {
  const [user] = await db`select from users where id = ${userId}`
  if (!user) throw new NotFound('The user')
  return paymentHistory(db, userId, page)
}

type InvoiceRow = {
  id: string
  stripe_invoice_id: string
  number: string | null
  plan_id: string | null
  status: string
  total_minor: number
  paid_minor: number
  currency: string
  period_start: Date
  period_end: Date
  created_at: Date
}

/** One of the caller's invoices with its links, which Stripe makes anew. @throws {NotFound} also for another's */
export async function invoiceOf(parts: Parts, userId: string, invoiceId: string) {
  const { sdk } = parts.stripe()
  const row = await maybeOne(parts.db<InvoiceRow[]>`
    select i.id, i.stripe_invoice_id, i.number, i.plan_id, i.status, i.total_minor, i.paid_minor, i.currency, i.period_start,
           i.period_end, i.created_at
      from invoices i join billing_customers c on c.id = i.customer_id
     where i.id = ${invoiceId} and c.user_id = ${userId}`)
  if (!row) throw new NotFound('The invoice')
  const { hosted_invoice_url, invoice_pdf } = await asking(() => sdk.invoices.retrieve(row.stripe_invoice_id))
  return {
    id: row.id,
    number: row.number,
    plan: row.plan_id,
    status: row.status,
    total: toDecimal(row.total_minor, row.currency),
    amount_paid: toDecimal(row.paid_minor, row.currency),
    currency: row.currency,
    period_start: row.period_start,
    period_end: row.period_end,
    created_at: row.created_at,
    hosted_url: hosted_invoice_url ?? null,
    pdf_url: invoice_pdf ?? null,
  }
}
