import { createHash } from 'node:crypto'
import { accountById } from '../accounts/index.ts'
import { maybeOne, one, type Db } from '../platform/db/index.ts'
import { NotFound } from '../platform/errors.ts'
import { newId } from '../platform/ids.ts'
import type { Parts } from './parts.ts'

export type Customer = {
  id: string
  user_id: string | null
  stripe_customer_id: string | null
  trial_used_at: Date | null
}
export type KnownCustomer = Customer & { stripe_customer_id: string }

const columns = (db: Db) => db`id, user_id, stripe_customer_id, trial_used_at`

export const customerOfUser = (db: Db, userId: string): Promise<Customer | undefined> =>
  maybeOne(db<Customer[]>`select ${columns(db)} from billing_customers where user_id = ${userId}`)

export const customerByStripeId = (db: Db, stripeId: string): Promise<Customer | undefined> =>
  maybeOne(db<Customer[]>`select ${columns(db)} from billing_customers where stripe_customer_id = ${stripeId}`)

async function ownRow(db: Db, userId: string): Promise<Customer> {
  await db`insert into billing_customers (id, user_id) values (${newId()}, ${userId}) on conflict (user_id) do nothing`
  return one(db<Customer[]>`select ${columns(db)} from billing_customers where user_id = ${userId}`)
}

/**
 * The user as Stripe's customer, made at the first purchase. The key comes from our row and the address, so that a crash
 * before the answer makes no second customer.
 */
export async function ensureCustomer(parts: Parts, userId: string): Promise<KnownCustomer> {
  const { db } = parts
  const row = await ownRow(db, userId)
  if (row.stripe_customer_id !== null) return { ...row, stripe_customer_id: row.stripe_customer_id }
  const account = await accountById(db, userId)
  if (!account) throw new NotFound('The account')
  const email = account.email ?? undefined
  const mark = createHash('sha256')
    .update(email ?? '')
    .digest('hex')
    .slice(0, 16)
  const made = await parts
    .stripe()
    .sdk.customers.create(
      { ...(email === undefined ? {} : { email }), metadata: { customer: row.id } },
      { idempotencyKey: `customer:${row.id}:${mark}` },
    )
  const kept = await one(db<Customer[]>`
    update billing_customers set stripe_customer_id = coalesce(stripe_customer_id, ${made.id}) where id = ${row.id}
    returning ${columns(db)}`)
  return { ...kept, stripe_customer_id: kept.stripe_customer_id ?? made.id }
}

export const customerById = (db: Db, id: string): Promise<Customer | undefined> =>
  maybeOne(db<Customer[]>`select ${columns(db)} from billing_customers where id = ${id}`)

/** The user's customer when there is one at Stripe. */
export async function knownCustomer(db: Db, userId: string): Promise<KnownCustomer | undefined> {
  const row = await customerOfUser(db, userId)
  return row?.stripe_customer_id ? { ...row, stripe_customer_id: row.stripe_customer_id } : undefined
}

/** An idempotency key for what is asked for a customer; two different wishes never share one. */
export async function nextCustomerAct(db: Db, customerId: string): Promise<string> {
  const { acts } = await one(db<{ acts: number }[]>`
    update billing_customers set acts = acts + 1 where id = ${customerId} returning acts`)
  return `customer:${customerId}:act:${acts}`
}
