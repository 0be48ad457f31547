import { enqueue } from '../platform/jobs.ts'
import { requeueForgets } from './event-jobs.ts'
import { requeueEvents } from './inbox.ts'
import { mailDay, notify } from './mails.ts'
import { nowOf, type Parts } from './parts.ts'
import { REFUND_JOB } from './refunds.ts'
import { endWhatIsTooMuch } from './shrink.ts'

export const LIFECYCLE_JOB = 'billing.lifecycle'
const DAY_MS = 86_400_000
/** Seconds after which an event that is not applied is queued again; Stripe may only be away, so this is patient. */
const LOST_AFTER_S = 120

type Row = { id: string; user_id: string; end_date: Date; grace_until: Date }

/** Plans that end by themselves: grants, vouchers, and subscriptions cancelled to the end of their period. */
async function endPlans(parts: Parts, now: Date): Promise<void> {
  const due = await parts.db<{ id: string }[]>`
    select id from subscriptions where status = 'active' and not auto_renew and end_date <= ${now} order by end_date limit 500`
  for (const { id } of due)
    await parts.db.begin(async (tx) => {
      const [row] = await tx<Row[]>`
        update subscriptions set status = 'canceled', ended_at = end_date, updated_at = clock_timestamp()
         where id = ${id} and status = 'active' and not auto_renew and end_date <= ${now}
        returning id, user_id, end_date`
      if (!row) return
      await notify(parts, tx, `ended:${row.id}:${row.end_date.toISOString()}`, { kind: 'ended', user_id: row.user_id })
      await endWhatIsTooMuch(parts, tx, row.user_id, true)
    })
}

/** Grace that ended without payment: the row stays past due, premium is over. */
async function lapse(parts: Parts, now: Date): Promise<void> {
  const due = await parts.db<{ id: string }[]>`
    select id from subscriptions
     where status = 'past_due' and lapsed_at is null and grace_until <= ${now} order by grace_until limit 500`
  for (const { id } of due)
    await parts.db.begin(async (tx) => {
      const [row] = await tx<Row[]>`
        update subscriptions set lapsed_at = ${now}, updated_at = clock_timestamp()
         where id = ${id} and status = 'past_due' and lapsed_at is null and grace_until <= ${now}
        returning id, user_id, end_date, grace_until`
      if (!row) return
      await notify(parts, tx, `ended:${row.id}:${row.end_date.toISOString()}`, { kind: 'ended', user_id: row.user_id })
      await endWhatIsTooMuch(parts, tx, row.user_id, true)
    })
}

/** The second mail, on the second day of grace; whom it was sent is left out, so that the others have their turn. */
async function remind(parts: Parts, now: Date): Promise<void> {
  const due = await parts.db<Row[]>`
    select s.id, s.user_id, s.end_date, s.grace_until from subscriptions s
     where s.status = 'past_due' and s.lapsed_at is null and s.grace_until > ${now}
       and s.grace_until <= ${new Date(now.getTime() + DAY_MS)}
       and not exists (select from billing_notices n
                        where n.key = 'reminder:' || s.id || ':' ||
                                      to_char(s.end_date at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
     order by s.grace_until limit 500`
  for (const row of due)
    await parts.db.begin((tx) =>
      notify(parts, tx, `reminder:${row.id}:${row.end_date.toISOString()}`, {
        kind: 'payment_reminder',
        user_id: row.user_id,
        day: mailDay(row.grace_until),
      }),
    )
}

/** Refunds whose answer never came are asked for again with their key; those of another Stripe's payments wait for it. */
const retryRefunds = (parts: Parts, now: Date) =>
  parts.db.begin(async (tx) => {
    const due = await tx<{ id: string }[]>`
      select r.id from refunds r join payments p on p.id = r.payment_id join billing_customers c on c.id = p.customer_id
       where r.status = 'pending' and r.stripe_refund_id is null and c.stripe_customer_id is not null
         and r.created_at < ${new Date(now.getTime() - 10 * 60_000)}
       order by r.created_at limit 100`
    for (const { id } of due) await enqueue(tx, REFUND_JOB, { refund: id }, `${REFUND_JOB}:${id}`)
  })

/** What time alone brings about. Safe to run twice and side by side. */
export const lifecycleJob = (parts: Parts) => async (): Promise<void> => {
  const now = nowOf(parts)
  await endPlans(parts, now)
  await remind(parts, now)
  await lapse(parts, now)
  if (!parts.billingEnabled()) return
  await retryRefunds(parts, now)
  await requeueEvents(parts.db, LOST_AFTER_S)
}

/** Rows that are needed no more: events, notices, orders, joins to accounts that are gone. */
export const sweepJob = (parts: Parts) => async (): Promise<void> => {
  const before = (days: number): Date => new Date(parts.clock.now() - days * DAY_MS)
  await parts.db`delete from billing_events where received_at < ${before(30)} and applied_at is not null`
  await parts.db`delete from billing_events where received_at < ${before(90)}`
  await parts.db`delete from billing_notices where at < ${before(400)}`
  await parts.db`delete from billing_orders where created_at < ${before(90)}`
  if (parts.billingEnabled()) await requeueForgets(parts.db)
  // One that Stripe still charges is kept until it is forgotten there: its name at Stripe is needed for that, also at an
  // account that is not in use now.
  await parts.db`
    delete from billing_customers
     where delete_after < ${nowOf(parts)} and (forgotten_at is not null or stripe_customer_id is null)
       and not exists (select from billing_ids_aside a where a.customer_id = billing_customers.id)`
}
