import type { Sql, Tx } from '../platform/db/index.ts'
import { enqueue } from '../platform/jobs.ts'
import type { Log } from '../platform/log.ts'
import { RECONCILE_JOB } from './reconcile.ts'
import type { StripeGate } from './stripe.ts'

/** Ids of the home that is left go aside; those of the one that is entered come back. */
async function swapIds(tx: Tx, from: string, to: string): Promise<void> {
  await tx`
    insert into billing_ids_aside (home, stripe_id, price_id)
    select ${from}, stripe_price_id, id from plan_prices where stripe_price_id is not null`
  await tx`
    insert into billing_ids_aside (home, stripe_id, customer_id)
    select ${from}, stripe_customer_id, id from billing_customers where stripe_customer_id is not null`
  await tx`update plan_prices set stripe_price_id = null where stripe_price_id is not null`
  await tx`update billing_customers set stripe_customer_id = null where stripe_customer_id is not null`
  await tx`
    update plan_prices p set stripe_price_id = a.stripe_id from billing_ids_aside a
     where a.home = ${to} and a.price_id = p.id`
  await tx`
    update billing_customers c set stripe_customer_id = a.stripe_id from billing_ids_aside a
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
  await tx`update billing_orders set state = 'dropped' where state = 'open'`
}

/**
 * Notices that the key is of another account of Stripe, or of the other mode, than the ids in our tables, and changes
 * them for the right ones. Instances that start at once do it once.
 * @throws Stripe's errors: nothing was changed
 */
export async function settleHome(db: Sql, { sdk, livemode }: StripeGate, log: Log): Promise<void> {
  const { id: account } = await sdk.accounts.retrieveCurrent()
  const home = `${account}:${livemode ? 'live' : 'test'}`
  await db.begin(async (tx) => {
    await tx`insert into billing_home (id) values (${home}) on conflict do nothing`
    const [known] = await tx<{ id: string }[]>`select id from billing_home for update`
    if (!known || known.id === home) return
    await swapIds(tx, known.id, home)
    await letRunOut(tx)
    await tx`update billing_home set id = ${home}`
    // Of a Stripe that was used before, what stands there counts again.
    await enqueue(tx, RECONCILE_JOB, {}, RECONCILE_JOB)
    log.warn({ before: known.id, now: home }, 'another account or mode of Stripe than before is used from now on')
  })
}
