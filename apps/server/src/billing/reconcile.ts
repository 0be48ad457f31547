import { audit } from '../platform/audit.ts'
import { customerById } from './customers.ts'
import type { Parts } from './parts.ts'
import { isRefusal } from './stripe.ts'
import { syncCustomer } from './sync.ts'

export const RECONCILE_JOB = 'billing.reconcile'

export type Drift = { read: number; repaired: number; failed: number }

/** Who could have drifted: whoever has a plan, an open order, an event that was not applied, or paid lately. */
const candidates = (parts: Parts, after: string) => parts.db<{ id: string }[]>`
  select c.id from billing_customers c
   where c.id > ${after} and c.stripe_customer_id is not null
     and (exists (select from subscriptions s where s.customer_id = c.id and s.status in ('active', 'past_due'))
       or exists (select from billing_orders o where o.customer_id = c.id and o.created_at > clock_timestamp() - interval '3 days')
       or exists (select from billing_events e where e.stripe_customer_id = c.stripe_customer_id and e.applied_at is null)
       or exists (select from payments p where p.customer_id = c.id and p.paid_at > clock_timestamp() - interval '120 days'))
   order by c.id limit 200`

const FIRST = '00000000-0000-0000-0000-000000000000'

/**
 * Reads everybody's state from Stripe and repairs what missed webhooks left; what had to be repaired stands in the audit
 * log by the names of its fields.
 * @throws when Stripe is away: the job goes on later from the start
 */
export async function reconcile(parts: Parts): Promise<Drift> {
  const drift: Drift = { read: 0, repaired: 0, failed: 0 }
  let after = FIRST
  for (;;) {
    const rows = await candidates(parts, after)
    if (rows.length === 0) break
    for (const { id } of rows) {
      after = id
      const customer = await customerById(parts.db, id)
      if (!customer?.stripe_customer_id) continue
      drift.read++
      try {
        const changes = await syncCustomer(parts, { ...customer, stripe_customer_id: customer.stripe_customer_id })
        for (const { fields } of changes)
          await audit(parts.db, {
            actor: null,
            action: 'billing.repaired',
            subject: { type: 'billing_customer', id },
            fields,
          })
        drift.repaired += changes.length
      } catch (err) {
        if (!isRefusal(err)) throw err
        drift.failed++
        parts.log.warn({ err, customer: id }, 'a customer could not be compared')
      }
    }
  }
  parts.log.info(drift, 'billing was compared with the payment provider')
  return drift
}

export const reconcileJob = (parts: Parts) => async (): Promise<void> => {
  if (parts.billingEnabled()) await reconcile(parts)
}
