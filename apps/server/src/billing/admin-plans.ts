import { audit } from '../platform/audit.ts'
import { violatedConstraint, type Tx } from '../platform/db/index.ts'
import { Conflict, invalidField, NotFound } from '../platform/errors.ts'
import type { Idempotency } from '../platform/http/index.ts'
import { newId } from '../platform/ids.ts'
import { toMinor } from './money.ts'
import type { Parts } from './parts.ts'
import { listPlans, planById, type PlanRow } from './plan-store.ts'
import { endWhatIsTooMuch } from './shrink.ts'

export type PlanWish = {
  name: string
  description?: string | null | undefined
  tier: 'free' | 'premium'
  billing_period: 'free' | 'monthly' | 'yearly'
  /** The first is the one that is shown and charged when nothing else is asked for. */
  prices: { currency: string; amount: number }[]
  max_devices: number
  max_connections: number
  streaming_support: boolean
  features: string[]
  trial_days: number
  position: number
  is_active: boolean
}
/** What is left out stays. */
export type PlanChange = { [K in keyof PlanWish]?: PlanWish[K] | undefined }
export type Actor = { userId: string; requestId: string }

type MinorPrice = { currency: string; amount_minor: number }

function minorPrices({ prices, billing_period }: PlanWish): MinorPrice[] {
  if ((billing_period === 'free') !== (prices.length === 0))
    throw invalidField(
      'prices',
      billing_period === 'free' ? 'must be empty for a free plan' : 'must name at least one price',
    )
  const seen = new Set<string>()
  return prices.map(({ currency, amount }, index) => {
    if (seen.has(currency)) throw invalidField(`prices.${index}.currency`, 'is given twice')
    seen.add(currency)
    return { currency, amount_minor: toMinor(amount, currency, `prices.${index}.amount`) }
  })
}

/** A price that changed becomes a new row; running subscriptions keep the old one. */
async function writePrices(tx: Tx, planId: string, prices: MinorPrice[]): Promise<void> {
  const current = await tx<
    MinorPrice[]
  >`select currency, amount_minor from plan_prices where plan_id = ${planId} and is_current`
  for (const held of current) {
    if (prices.some((it) => it.currency === held.currency && it.amount_minor === held.amount_minor)) continue
    await tx`update plan_prices set is_current = false where plan_id = ${planId} and currency = ${held.currency} and is_current`
  }
  for (const { currency, amount_minor } of prices)
    await tx`
      insert into plan_prices (id, plan_id, currency, amount_minor) values (${newId()}, ${planId}, ${currency}, ${amount_minor})
      on conflict (plan_id, currency) where is_current do nothing`
}

const columnsOf = (wish: PlanWish, prices: MinorPrice[]) => ({
  name: wish.name,
  description: wish.description ?? null,
  tier: wish.tier,
  billing_period: wish.billing_period,
  price_minor: prices[0]?.amount_minor ?? 0,
  currency: prices[0]?.currency ?? 'USD',
  max_devices: wish.max_devices,
  max_connections: wish.max_connections,
  streaming_support: wish.streaming_support,
  features: wish.features,
  trial_days: wish.trial_days,
  position: wish.position,
  is_active: wish.is_active,
})

async function planAfter(tx: Tx, id: string): Promise<PlanRow> {
  const plan = await planById(tx, id)
  if (!plan) throw new NotFound('The plan')
  return plan
}

/** A repeat of a call that died half-way finds its plan made. @throws {Conflict} the id is taken */
export async function createPlan(
  { db }: Parts,
  actor: Actor,
  id: string,
  wish: PlanWish,
  idempotency: Idempotency | null = null,
): Promise<PlanRow> {
  const found = idempotency?.found ? await planById(db, id) : undefined
  if (found) return found
  const prices = minorPrices(wish)
  try {
    return await db.begin(async (tx) => {
      await tx`insert into plans ${tx({ id, ...columnsOf(wish, prices) })}`
      await writePrices(tx, id, prices)
      // Plans have names for ids: the mark says that there is one.
      await idempotency?.mark(tx, newId())
      await audit(tx, {
        actor: actor.userId,
        action: 'plan.created',
        subject: { type: 'plan', id },
        requestId: actor.requestId,
      })
      return planAfter(tx, id)
    })
  } catch (error) {
    if (violatedConstraint(error) === 'plans_pkey') throw new Conflict('There is a plan with this id already.')
    throw error
  }
}

const LIMITS = ['tier', 'max_devices', 'max_connections', 'is_active'] as const

/**
 * Whatever is given changes. Limits change for those who have the plan, too: what goes beyond the new ones ends.
 * @throws {NotFound} {Conflict} the free plan stays free, and a plan keeps its period
 */
export async function changePlan(parts: Parts, actor: Actor, id: string, wish: PlanChange): Promise<PlanRow> {
  return parts.db.begin(async (tx) => {
    const held = await planById(tx, id)
    if (!held) throw new NotFound('The plan')
    if (wish.billing_period !== undefined && wish.billing_period !== held.billing_period)
      throw new Conflict('A plan keeps its period. Make another plan instead.')
    if (id === 'free' && (wish.is_active === false || (wish.tier !== undefined && wish.tier !== 'free')))
      throw new Conflict('The free plan is what everybody falls back to.')
    const prices = wish.prices === undefined ? undefined : minorPrices({ ...held, ...wish } as PlanWish)
    const given = Object.keys(wish).filter((name) => name !== 'prices' && wish[name as keyof PlanWish] !== undefined)
    const columns = {
      ...Object.fromEntries(given.map((name) => [name, wish[name as keyof PlanWish]])),
      ...(prices?.[0] ? { price_minor: prices[0].amount_minor, currency: prices[0].currency } : {}),
    }
    if (Object.keys(columns).length > 0)
      await tx`update plans set ${tx(columns)}, updated_at = clock_timestamp() where id = ${id}`
    if (prices) await writePrices(tx, id, prices)
    await audit(tx, {
      actor: actor.userId,
      action: 'plan.changed',
      subject: { type: 'plan', id },
      fields: Object.keys(wish),
      requestId: actor.requestId,
    })
    const after = await planAfter(tx, id)
    if (LIMITS.some((name) => after[name] !== held[name])) await endWhatShrank(parts, tx, id)
    return after
  })
}

/** Those who have the plan and a tunnel; the others have nothing to lose. In one order, so that two changes never meet. */
async function endWhatShrank(parts: Parts, tx: Tx, planId: string): Promise<void> {
  const holders = await tx<{ user_id: string }[]>`
    select e.user_id from entitlements e
     where e.plan_id = ${planId} and exists (select from connections c where c.user_id = e.user_id and c.status = 'connected')
     order by e.user_id`
  for (const { user_id } of holders) await endWhatIsTooMuch(parts, tx, user_id)
}

/** A plan that somebody has or had is only taken from sale. @returns whether it is gone altogether */
export async function removePlan({ db }: Parts, actor: Actor, id: string): Promise<boolean> {
  if (id === 'free') throw new Conflict('The free plan is what everybody falls back to.')
  return db.begin(async (tx) => {
    const [plan] = await tx`select from plans where id = ${id} for update`
    if (!plan) throw new NotFound('The plan')
    const [{ used } = { used: true }] = await tx<{ used: boolean }[]>`
      select exists (select from subscriptions where plan_id = ${id}) or exists (select from vouchers where plan_id = ${id})
          or exists (select from payments where plan_id = ${id})
          or exists (select from plan_prices where plan_id = ${id} and stripe_price_id is not null) as used`
    if (used) await tx`update plans set is_active = false, updated_at = clock_timestamp() where id = ${id}`
    else await tx`delete from plans where id = ${id}`
    await audit(tx, {
      actor: actor.userId,
      action: 'plan.removed',
      subject: { type: 'plan', id },
      requestId: actor.requestId,
    })
    return !used
  })
}

export const allPlans = ({ db }: Parts): Promise<PlanRow[]> => listPlans(db, true)
