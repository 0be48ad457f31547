import { maybeOne, type Db } from '../platform/db/index.ts'
import type { PlanOfPrice } from './reduce.ts'

export type PriceRow = { currency: string; amount_minor: number }
export type PlanRow = {
  id: string
  name: string
  description: string | null
  tier: 'free' | 'premium'
  billing_period: 'free' | 'monthly' | 'yearly'
  price_minor: number
  currency: string
  max_devices: number
  max_connections: number
  streaming_support: boolean
  features: string[]
  trial_days: number
  position: number
  is_active: boolean
  prices: PriceRow[]
}

const columns = (db: Db) => db`
  p.id, p.name, p.description, p.tier, p.billing_period, p.price_minor, p.currency, p.max_devices, p.max_connections,
  p.streaming_support, p.features, p.trial_days, p.position, p.is_active,
  coalesce((select json_agg(json_build_object('currency', c.currency, 'amount_minor', c.amount_minor)
                            order by c.currency <> p.currency, c.currency)
              from plan_prices c where c.plan_id = p.id and c.is_current), '[]'::json) as prices`

/** In the order they are shown. @param all also those that are no longer sold */
export const listPlans = (db: Db, all = false): Promise<PlanRow[]> =>
  db<PlanRow[]>`select ${columns(db)} from plans p where p.is_active or ${all} order by p.position, p.id`

export const planById = (db: Db, id: string): Promise<PlanRow | undefined> =>
  maybeOne(db<PlanRow[]>`select ${columns(db)} from plans p where p.id = ${id}`)

export type PlanPrice = {
  id: string
  plan_id: string
  currency: string
  amount_minor: number
  stripe_price_id: string | null
}

/** What the plan costs now in this currency. */
export const currentPrice = (db: Db, planId: string, currency: string): Promise<PlanPrice | undefined> =>
  maybeOne(db<PlanPrice[]>`
    select id, plan_id, currency, amount_minor, stripe_price_id from plan_prices
     where plan_id = ${planId} and currency = ${currency} and is_current`)

/** Prices that Stripe does not know yet. */
export const unknownPrices = (db: Db): Promise<PlanPrice[]> => db<PlanPrice[]>`
  select c.id, c.plan_id, c.currency, c.amount_minor, c.stripe_price_id
    from plan_prices c join plans p on p.id = c.plan_id
   where c.is_current and c.stripe_price_id is null and p.is_active order by c.plan_id, c.currency`

export const setStripePrice = (db: Db, id: string, stripePriceId: string) => db`
  update plan_prices set stripe_price_id = ${stripePriceId} where id = ${id}`

/** Every price of ours that Stripe knows, those of the past included. */
export async function plansOfPrices(db: Db): Promise<Map<string, PlanOfPrice>> {
  const rows = await db<{ stripe_price_id: string; plan_id: string; billing_period: 'monthly' | 'yearly' }[]>`
    select c.stripe_price_id, c.plan_id, p.billing_period from plan_prices c join plans p on p.id = c.plan_id
     where c.stripe_price_id is not null and p.billing_period <> 'free'`
  return new Map(rows.map((row) => [row.stripe_price_id, { planId: row.plan_id, period: row.billing_period }]))
}
