import { z } from 'zod'
import { audit } from '../platform/audit.ts'
import type { Tx } from '../platform/db/index.ts'
import { enqueue } from '../platform/jobs.ts'
import { customerById } from './customers.ts'
import type { Parts } from './parts.ts'
import { isAway } from './stripe.ts'
import { syncCustomer } from './sync.ts'

export const RECONCILE_JOB = 'billing.reconcile'

export type Drift = { read: number; repaired: number; failed: number }
type Page = { drift: Drift; last: string | undefined }

/** Customers in one job, and the time after which it leaves the rest to the next: the queue frees a job that runs for long. */
const PAGE = 100
const PAGE_MS = 120_000

const FIRST = '00000000-0000-0000-0000-000000000000'
const NOTHING: Drift = { read: 0, repaired: 0, failed: 0 }

/**
 * Who could have drifted: whoever has a plan, an open order, an event that was not applied, or paid lately.
 * @param everybody also who could not have, as far as was heard here
 */
const candidates = (parts: Parts, after: string, everybody: boolean) => parts.db<{ id: string }[]>`
  select c.id from billing_customers c
   where c.id > ${after} and c.stripe_customer_id is not null
     and (${everybody} or exists (select from subscriptions s where s.customer_id = c.id and s.status in ('active', 'past_due'))
       or exists (select from billing_orders o where o.customer_id = c.id
                    and (o.state = 'processing' or o.created_at > clock_timestamp() - interval '3 days'))
       or exists (select from billing_events e where e.stripe_customer_id = c.stripe_customer_id and e.applied_at is null)
       or exists (select from payments p where p.customer_id = c.id and p.paid_at > clock_timestamp() - interval '120 days'))
   order by c.id limit ${PAGE}`

/** @returns how many rows had to be repaired @throws whatever the read of this customer throws */
async function compare(parts: Parts, id: string): Promise<number> {
  const customer = await customerById(parts.db, id)
  if (!customer?.stripe_customer_id) return 0
  const changes = await syncCustomer(parts, { ...customer, stripe_customer_id: customer.stripe_customer_id })
  for (const { fields } of changes)
    await audit(parts.db, {
      actor: null,
      action: 'billing.repaired',
      subject: { type: 'billing_customer', id },
      fields,
    })
  return changes.length
}

/**
 * Compares the next customers. One that cannot be read is counted and left, so that it hides nobody behind it.
 * @param after the last customer that was compared
 * @throws when Stripe is away: the page runs again later
 */
async function comparePage(parts: Parts, after: string, everybody = false): Promise<Page> {
  const drift = { ...NOTHING }
  const until = parts.clock.now() + PAGE_MS
  let last: string | undefined
  for (const { id } of await candidates(parts, after, everybody)) {
    if (parts.clock.now() > until) break
    last = id
    drift.read++
    try {
      drift.repaired += await compare(parts, id)
    } catch (err) {
      if (isAway(err)) throw err
      drift.failed++
      parts.log.error({ err, customer: id }, 'a customer could not be compared with the payment provider')
    }
  }
  return { drift, last }
}

const sum = (a: Drift, b: Drift): Drift => ({
  read: a.read + b.read,
  repaired: a.repaired + b.repaired,
  failed: a.failed + b.failed,
})

const tell = ({ log }: Parts, drift: Drift): void => log.info(drift, 'billing was compared with the payment provider')

/**
 * Reads everybody's state from Stripe and repairs what missed webhooks left; what had to be repaired stands in the audit
 * log by the names of its fields.
 * @throws when Stripe is away
 */
export async function reconcile(parts: Parts): Promise<Drift> {
  let drift = NOTHING
  for (let after = FIRST; ;) {
    const page = await comparePage(parts, after)
    drift = sum(drift, page.drift)
    if (page.last === undefined) break
    after = page.last
  }
  tell(parts, drift)
  return drift
}

const Count = z.int().min(0)
const Payload = z.object({
  after: z.uuid().default(FIRST),
  everybody: z.boolean().default(false),
  so_far: z.object({ read: Count, repaired: Count, failed: Count }).default(NOTHING),
})

/** Queues a read of all customers, for a Stripe of which nothing was heard for a while. */
export const queueEverybody = (tx: Tx): Promise<void> =>
  enqueue(tx, RECONCILE_JOB, { everybody: true }, `${RECONCILE_JOB}:everybody`)

/**
 * The same by the page: each job queues the one after it. All continuations share one key, so that runs which meet (a
 * night that takes a day, a page that was taken for dead) become one; those that read everybody have one of their own.
 */
export const reconcileJob =
  (parts: Parts) =>
  async (payload: unknown): Promise<void> => {
    if (!parts.billingEnabled()) return
    const { after, everybody, so_far } = Payload.parse(payload ?? {})
    const { drift, last } = await comparePage(parts, after, everybody)
    const total = sum(so_far, drift)
    if (last === undefined) tell(parts, total)
    else {
      const key = `${RECONCILE_JOB}:${everybody ? 'everybody' : 'next'}`
      await enqueue(parts.db, RECONCILE_JOB, { after: last, everybody, so_far: total }, key)
    }
  }
