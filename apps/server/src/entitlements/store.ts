import { maybeOne, one, type Db, type Sql } from '../platform/db/index.ts'
import type { Entitlement } from '../auth/index.ts'

type Row = {
  is_active: boolean
  plan_id: string
  tier: 'free' | 'premium'
  max_devices: number
  max_connections: number
  streaming_support: boolean
  expires_at: Date | null
}

/** What a user may do, with what the session's own look at it leaves out. */
export type FullEntitlement = Entitlement & { isActive: boolean; streamingSupport: boolean }

/** The one answer to what a user may do now; undefined when there is no such user. */
export async function entitlementOf(db: Db, userId: string): Promise<FullEntitlement | undefined> {
  const row = await maybeOne(db<Row[]>`
    select is_active, plan_id, tier, max_devices, max_connections, streaming_support, expires_at
      from entitlements where user_id = ${userId}`)
  if (!row) return undefined
  return {
    isActive: row.is_active,
    planId: row.plan_id,
    tier: row.tier,
    maxDevices: row.max_devices,
    maxConnections: row.max_connections,
    streamingSupport: row.streaming_support,
    expiresAt: row.expires_at,
  }
}

/** What a subscription looks like from outside; the free plan where none counts. */
export type Subscription = {
  plan: string
  plan_type: 'monthly' | 'yearly' | 'free'
  status: 'active' | 'past_due' | 'canceled'
  start_date: Date
  end_date: Date | null
  auto_renew: boolean
}

/**
 * The columns of the subscription that counts for a row `u` of users, named `plan`, `plan_type`, `status`, `start_date`,
 * `end_date`, `auto_renew`; use together with `subscriptionJoin`. A past-due row counts while its grace lasts, as in the
 * view `entitlements`.
 */
export const subscriptionColumns = (db: Db) => (db as Sql)`
  coalesce(s.plan_id, 'free') as plan, coalesce(s.plan_type, 'free') as plan_type, coalesce(s.status, 'active') as status,
  coalesce(s.start_date, u.created_at) as start_date, s.end_date, coalesce(s.auto_renew, false) as auto_renew`

export const subscriptionJoin = (db: Db) => (db as Sql)`
  left join subscriptions s
    on s.user_id = u.id
   and ((s.status = 'active' and (s.end_date is null or s.end_date > clock_timestamp()))
     or (s.status = 'past_due' and s.grace_until > clock_timestamp()))`

export const subscriptionOf = (db: Db, userId: string): Promise<Subscription> =>
  one(db<Subscription[]>`
    select ${subscriptionColumns(db)} from users u ${subscriptionJoin(db)} where u.id = ${userId}`)
