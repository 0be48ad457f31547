import type Stripe from 'stripe'
import { one, type Db, type Sql, type Tx } from '../platform/db/index.ts'
import { newId } from '../platform/ids.ts'
import type { Log } from '../platform/log.ts'
import { queueEverybody } from './reconcile.ts'
import { isMissing, type StripeGate } from './stripe.ts'

/** The key is not of the Stripe whose customers we have. Nothing was changed. */
export class OtherHome extends Error {
  constructor() {
    super(
      'STRIPE_SECRET_KEY is of another account or mode of Stripe than the customers of this database. To go over to it: ' +
        'end what still renews at the old one, stop the service, run `prime billing move` with this key, and start again.',
    )
  }
}

/** Which home may be left for the key's: none, one where nobody is a customer, or any (staff said so). */
export type Leave = 'never' | 'empty' | 'any'

type Home = { id: string; key_mark: string }
type Sample = { home: string; stripe_id: string; is_customer: boolean }

/** Homes of the stand-in are left without asking: no money was paid there. */
const STANDIN = 'standin:'

const newHome = ({ standin }: StripeGate): string => `${standin ? STANDIN : ''}${newId()}`

async function presentHome(db: Db, gate: StripeGate): Promise<Home> {
  await db`insert into billing_home (id, key_mark) values (${newHome(gate)}, ${gate.mark}) on conflict do nothing`
  return one(db<Home[]>`select id, key_mark from billing_home`)
}

/** Some ids of each home, those of the present one first. */
const samplesOf = (db: Db, present: string) => db<Sample[]>`
  (select ${present} as home, stripe_customer_id as stripe_id, true as is_customer from billing_customers
    where stripe_customer_id is not null order by created_at desc limit 3)
  union all
  (select ${present}, stripe_price_id, false from plan_prices where stripe_price_id is not null order by created_at desc limit 3)
  union all
  (select home, stripe_id, price_id is null from (
     select *, row_number() over (partition by home, price_id is null order by stripe_id) as n from billing_ids_aside) aside
    where n <= 3)`

async function knows(sdk: Stripe, { stripe_id, is_customer }: Sample): Promise<boolean> {
  try {
    await (is_customer ? sdk.customers.retrieve(stripe_id) : sdk.prices.retrieve(stripe_id))
    return true
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
}

/** The home whose ids the key can read: ids are never shared by accounts or modes. */
async function homeOfKey(sdk: Stripe, samples: readonly Sample[]): Promise<string | undefined> {
  for (const sample of samples) if (await knows(sdk, sample)) return sample.home
  return undefined
}

/** Ids of the home that is left go aside; those of the one that is entered come back. */
async function swapIds(tx: Tx, from: string, to: string): Promise<void> {
  await tx`
    insert into billing_ids_aside (home, stripe_id, price_id)
    select ${from}, stripe_price_id, id from plan_prices where stripe_price_id is not null`
  await tx`
    insert into billing_ids_aside (home, stripe_id, customer_id)
    select ${from}, stripe_customer_id, id from billing_customers
     where stripe_customer_id is not null and forgotten_at is null`
  await tx`update plan_prices set stripe_price_id = null where stripe_price_id is not null`
  await tx`update billing_customers set stripe_customer_id = null where stripe_customer_id is not null`
  await tx`
    update plan_prices p set stripe_price_id = a.stripe_id from billing_ids_aside a
     where a.home = ${to} and a.price_id = p.id`
  await tx`
    update billing_customers c set stripe_customer_id = a.stripe_id, forgotten_at = null from billing_ids_aside a
     where a.home = ${to} and a.customer_id = c.id`
  await tx`delete from billing_ids_aside where home = ${to}`
}

/**
 * Nobody can say any more whether these renew: what was paid for, and the grace that was promised, still counts; then they
 * end by themselves and make room for the next purchase.
 */
async function letRunOut(tx: Tx): Promise<void> {
  await tx`
    update subscriptions
       set status = case when lapsed_at is null then 'active' else 'canceled' end,
           end_date = case when status = 'past_due' then greatest(end_date, grace_until) else end_date end,
           ended_at = case when lapsed_at is not null then lapsed_at end,
           grace_until = null, auto_renew = false, updated_at = clock_timestamp()
     where source = 'stripe' and status in ('active', 'past_due')`
  await tx`update billing_orders set state = 'dropped' where state in ('open', 'processing')`
}

async function goOver(db: Sql, { mark }: StripeGate, from: Home, to: string, log: Log): Promise<void> {
  await db.begin(async (tx) => {
    const now = await one(tx<Home[]>`select id, key_mark from billing_home for update`)
    // Another instance with the same key was first.
    if (now.key_mark === mark) return
    if (now.id !== from.id) throw new OtherHome()
    await swapIds(tx, from.id, to)
    await letRunOut(tx)
    await tx`update billing_home set id = ${to}, key_mark = ${mark}`
    // Of a Stripe that was used before, what stands there counts again: anybody may have been charged there meanwhile.
    await queueEverybody(tx)
    log.warn({ before: from.id, now: to }, 'another account or mode of Stripe than before is used from now on')
  })
}

/**
 * Makes sure that the key is of the Stripe whose ids stand in our tables. The same key as before is not asked about, so that
 * a Stripe that is away switches nothing off; a new one is of the same home when it can read one of our ids.
 * @returns whether we went over to another home
 * @throws {OtherHome} the key is of another home, and this one may not be left; Stripe's errors: it cannot be said
 */
export async function settleHome(db: Sql, gate: StripeGate, log: Log, leave: Leave): Promise<boolean> {
  const present = await presentHome(db, gate)
  if (present.key_mark === gate.mark) return false
  const samples = await samplesOf(db, present.id)
  const found = await homeOfKey(gate.sdk, samples)
  if (found === present.id) {
    await db`update billing_home set key_mark = ${gate.mark} where id = ${present.id}`
    return false
  }
  const isEmpty =
    present.id.startsWith(STANDIN) || !samples.some(({ home, is_customer }) => is_customer && home === present.id)
  if (leave === 'never' || (leave === 'empty' && !isEmpty)) throw new OtherHome()
  await goOver(db, gate, present, found ?? newHome(gate), log)
  return true
}
