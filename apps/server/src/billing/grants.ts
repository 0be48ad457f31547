import { audit } from '../platform/audit.ts'
import { maybeOne, violatedConstraint, type Db, type Tx } from '../platform/db/index.ts'
import { Conflict, invalidField, NotFound } from '../platform/errors.ts'
import { newId } from '../platform/ids.ts'
import { endAtStripe } from './acts.ts'
import type { Actor } from './admin-plans.ts'
import { nextAct } from './change.ts'
import { knownCustomer } from './customers.ts'
import { nowOf, type Parts } from './parts.ts'
import { planById } from './plan-store.ts'
import { asking, isMissing } from './stripe.ts'
import { settleGrants } from './sync-store.ts'
import { endWhatIsTooMuch } from './shrink.ts'
import { syncCustomer } from './sync.ts'

const DAY_MS = 86_400_000
/** Stripe takes no trial that ends later than two years from now; a day less, since its clock is not ours. */
const MOST_AHEAD_MS = 729 * DAY_MS

export type GrantWish =
  { action: 'grant'; plan_id: string; days: number } | { action: 'extend'; days: number } | { action: 'cancel' }

type Live = {
  id: string
  source: 'stripe' | 'grant' | 'voucher'
  status: 'active' | 'past_due'
  end_date: Date | null
  plan_id: string
  auto_renew: boolean
  stripe_subscription_id: string | null
  /** False for one of another account or mode of Stripe: it runs out here, and nothing can be asked about it there. */
  known_at_stripe: boolean
}

const columns = (db: Db) => db`
  id, source, status, end_date, plan_id, auto_renew, stripe_subscription_id,
  exists (select from billing_customers c
           where c.id = customer_id and c.stripe_customer_id is not null) as known_at_stripe`
const lockUser = (tx: Tx, userId: string) => tx`select from users where id = ${userId} for no key update`
const lockLive = (tx: Tx, userId: string): Promise<Live | undefined> =>
  maybeOne(tx<Live[]>`
    select ${columns(tx)} from subscriptions where user_id = ${userId} and status in ('active', 'past_due') for update`)

/**
 * Gives a plan for some days; on top of the same plan that was given before. Also one that is no longer sold: a voucher
 * that was handed out, and days on top of what somebody has, are kept.
 * @throws {Conflict} a paid subscription runs, or another plan was given
 */
export async function giveDays(
  parts: Parts,
  tx: Tx,
  userId: string,
  { planId, days, source }: { planId: string; days: number; source: 'grant' | 'voucher' },
): Promise<void> {
  const plan = await planById(tx, planId)
  if (!plan || plan.billing_period === 'free') throw invalidField('plan_id', 'is not a plan that can be given')
  const now = nowOf(parts)
  await settleGrants(tx, userId, now)
  const live = await lockLive(tx, userId)
  if (live?.source === 'stripe') throw new Conflict('A paid subscription runs already.')
  if (live && live.plan_id !== planId) throw new Conflict('Another plan runs already.')
  if (live?.end_date === null) throw new Conflict('The plan runs without end already.')
  const end = new Date((live?.end_date ?? now).getTime() + days * DAY_MS)
  if (live) await tx`update subscriptions set end_date = ${end}, updated_at = clock_timestamp() where id = ${live.id}`
  else
    await tx`
      insert into subscriptions (id, user_id, plan_id, plan_type, status, start_date, end_date, auto_renew, source)
      values (${newId()}, ${userId}, ${planId}, ${plan.billing_period}, 'active', ${now}, ${end}, false, ${source})`
  await endWhatIsTooMuch(parts, tx, userId)
}

/** In the transaction of the change; what Stripe is asked for, in that of its idempotency key. */
type Note = (tx: Tx) => Promise<void>

async function grant(parts: Parts, userId: string, wish: { plan_id: string; days: number }, note: Note): Promise<void> {
  await parts.db.begin(async (tx) => {
    await lockUser(tx, userId)
    const plan = await planById(tx, wish.plan_id)
    if (!plan?.is_active) throw invalidField('plan_id', 'is not a plan that can be given')
    await giveDays(parts, tx, userId, { planId: plan.id, days: wish.days, source: 'grant' })
    await note(tx)
  })
}

/** The key of an act, written down together with who asked for it. */
const notedAct = (parts: Parts, subscriptionId: string, note: Note): Promise<string> =>
  parts.db.begin(async (tx) => {
    const key = await nextAct(tx, subscriptionId)
    await note(tx)
    return key
  })

async function extend(parts: Parts, userId: string, days: number, note: Note): Promise<void> {
  const live = await maybeOne(parts.db<Live[]>`
    select ${columns(parts.db)} from subscriptions where user_id = ${userId} and status in ('active', 'past_due')`)
  if (!live) throw new Conflict('There is no plan to extend.')
  if (live.status === 'past_due') throw new Conflict('A payment is missing: it must be paid first.')
  if (live.source !== 'stripe') {
    await parts.db.begin(async (tx) => {
      await lockUser(tx, userId)
      await giveDays(parts, tx, userId, {
        planId: live.plan_id,
        days,
        source: live.source === 'voucher' ? 'voucher' : 'grant',
      })
      await note(tx)
    })
    return
  }
  // Days for nothing in a paid subscription are a trial: the next payment moves by so much.
  const customer = await knownCustomer(parts.db, userId)
  const { stripe_subscription_id: id, end_date } = live
  if (!customer || id === null || end_date === null) throw new Conflict('There is no plan to extend.')
  if (!live.auto_renew) throw new Conflict('It is cancelled. It must be resumed first.')
  const end = end_date.getTime() + days * DAY_MS
  if (end <= parts.clock.now()) throw invalidField('days', 'would move the next payment into the past')
  if (end > parts.clock.now() + MOST_AHEAD_MS)
    throw invalidField('days', 'would move the next payment more than two years away')
  await asking(async () => {
    await parts
      .stripe()
      .sdk.subscriptions.update(
        id,
        { trial_end: Math.floor(end / 1000), proration_behavior: 'none' },
        { idempotencyKey: await notedAct(parts, live.id, note) },
      )
    await syncCustomer(parts, customer)
  })
}

async function endHere(parts: Parts, tx: Tx, userId: string, { id }: Live): Promise<void> {
  const now = nowOf(parts)
  await tx`
    update subscriptions set status = 'canceled', end_date = least(end_date, ${now}), ended_at = ${now}, updated_at = clock_timestamp()
     where id = ${id} and status <> 'canceled'`
  await endWhatIsTooMuch(parts, tx, userId)
}

async function cancelNow(parts: Parts, userId: string, note: Note): Promise<void> {
  const live = await parts.db.begin(async (tx) => {
    await lockUser(tx, userId)
    const found = await lockLive(tx, userId)
    if (!found) throw new Conflict('There is no plan to cancel.')
    if (found.source === 'stripe' && found.known_at_stripe) return found
    await endHere(parts, tx, userId, found)
    await note(tx)
    return undefined
  })
  if (!live) return
  const customer = await knownCustomer(parts.db, userId)
  const id = live.stripe_subscription_id
  if (!customer || id === null) throw new Conflict('There is no plan to cancel.')
  await asking(async () => {
    const key = await notedAct(parts, live.id, note)
    try {
      await endAtStripe(parts, id, key)
    } catch (error) {
      if (!isMissing(error)) throw error
      // Of another account or mode of Stripe, while the customer is known in both.
      await parts.db.begin((tx) => endHere(parts, tx, userId, live))
    }
    await syncCustomer(parts, customer)
  })
}

/**
 * Staff's hand on somebody's plan: give, extend, end now.
 * @throws {NotFound} no such user; {Conflict}; {Unavailable} a paid one and Stripe is away
 */
export async function changeBySupport(parts: Parts, actor: Actor, userId: string, wish: GrantWish): Promise<void> {
  const [user] = await parts.db`select from users where id = ${userId}`
  if (!user) throw new NotFound('The user')
  const note: Note = (tx) =>
    audit(tx, {
      actor: actor.userId,
      action: `subscription.${wish.action}`,
      subject: { type: 'user', id: userId },
      fields: ['subscription'],
      requestId: actor.requestId,
    })
  try {
    if (wish.action === 'grant') await grant(parts, userId, wish, note)
    else if (wish.action === 'extend') await extend(parts, userId, wish.days, note)
    else await cancelNow(parts, userId, note)
  } catch (error) {
    if (violatedConstraint(error) === 'subscriptions_one_live')
      throw new Conflict('Another plan was begun at this moment.')
    throw error
  }
}
