import type { Db } from '../platform/db/index.ts'
import { toDecimal } from './money.ts'
import { nowOf, type Parts } from './parts.ts'

const DAY_MS = 86_400_000

type ByPlan = { currency: string; plan_id: string; subscribers: bigint; monthly_minor: number }
type Taken = { currency: string; plan_id: string | null; taken: bigint; refunded: bigint }
type Counts = { active: bigint; trialing: bigint; past_due: bigint; granted: bigint; ended: bigint; at_start: bigint }

/** Free days before the first payment. Days that staff added to a paid subscription are a trial to Stripe alone. */
const inTrial = (db: Db, now: Date) => db`
  (trial_end is not null and trial_end > ${now}
   and not exists (select from payments p where p.stripe_subscription_id = subscriptions.stripe_subscription_id))`

/** Paid subscriptions that run now, each at its own price, a yearly one as a twelfth a month. */
const running = (db: Db, now: Date) => db<ByPlan[]>`
  select currency, plan_id, count(*) as subscribers,
         sum(case plan_type when 'yearly' then amount_minor / 12.0 else amount_minor end)::float8 as monthly_minor
    from subscriptions
   where source = 'stripe' and amount_minor is not null and lapsed_at is null and status in ('active', 'past_due')
     and not ${inTrial(db, now)}
   group by currency, plan_id order by currency, plan_id`

const taken = (db: Db, since: Date) => db<Taken[]>`
  select currency, plan_id, sum(amount_minor) as taken, sum(refunded_minor) as refunded
    from payments where paid_at >= ${since} group by currency, plan_id`

const counts = async (db: Db, now: Date, since: Date): Promise<Counts> => {
  const [row] = await db<Counts[]>`
    select count(*) filter (where source = 'stripe' and status = 'active' and not ${inTrial(db, now)}) as active,
           count(*) filter (where source = 'stripe' and status = 'active' and ${inTrial(db, now)}) as trialing,
           count(*) filter (where source = 'stripe' and status = 'past_due') as past_due,
           count(*) filter (where source <> 'stripe' and status = 'active' and (end_date is null or end_date > ${now})) as granted,
           count(*) filter (where source = 'stripe' and status = 'canceled' and coalesce(ended_at, end_date) >= ${since}
                              and start_date < ${since}) as ended,
           count(*) filter (where source = 'stripe' and start_date < ${since}
                              and (status <> 'canceled' or coalesce(ended_at, end_date) >= ${since})) as at_start
      from subscriptions`
  if (!row) throw new Error('a count returned no row')
  return row
}

/**
 * Monthly recurring revenue, what was taken and who left, from our own tables; nothing is converted between currencies.
 * Churn: of those who had a paid subscription at the start of the window, the part that has ended since.
 */
export async function revenue(parts: Parts, days: number) {
  const now = nowOf(parts)
  const since = new Date(now.getTime() - days * DAY_MS)
  const [plans, sums, count] = await Promise.all([
    running(parts.db, now),
    taken(parts.db, since),
    counts(parts.db, now, since),
  ])
  const currencies = [...new Set([...plans, ...sums].map(({ currency }) => currency))].toSorted()
  const atStart = Number(count.at_start)
  return {
    days,
    currencies: currencies.map((currency) => {
      const own = plans.filter((row) => row.currency === currency)
      const paid = sums.filter((row) => row.currency === currency)
      const total = (rows: Taken[], field: 'taken' | 'refunded') =>
        toDecimal(
          rows.reduce((sum, row) => sum + Number(row[field]), 0),
          currency,
        )
      const ids = [...new Set([...own.map(({ plan_id }) => plan_id), ...paid.map(({ plan_id }) => plan_id)])]
      return {
        currency,
        mrr: toDecimal(Math.round(own.reduce((sum, { monthly_minor }) => sum + monthly_minor, 0)), currency),
        revenue: total(paid, 'taken'),
        refunded: total(paid, 'refunded'),
        by_plan: ids.map((plan_id) => {
          const plan = own.find((row) => row.plan_id === plan_id)
          return {
            plan_id,
            subscribers: Number(plan?.subscribers ?? 0n),
            mrr: toDecimal(Math.round(plan?.monthly_minor ?? 0), currency),
            revenue: total(
              paid.filter((row) => row.plan_id === plan_id),
              'taken',
            ),
          }
        }),
      }
    }),
    subscribers: {
      active: Number(count.active),
      trialing: Number(count.trialing),
      past_due: Number(count.past_due),
      granted: Number(count.granted),
    },
    churn: { ended: Number(count.ended), at_start: atStart, rate: atStart === 0 ? 0 : Number(count.ended) / atStart },
  }
}
