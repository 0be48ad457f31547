import { maybeOne, one, type Db } from '../platform/db/index.ts'
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

/** The subscription that counts; a past-due one while its grace lasts. */
export const subscriptionOf = (db: Db, userId: string): Promise<Subscription> =>
  one(db<Subscription[]>`
    select plan, plan_type, status, start_date, end_date, auto_renew
      from current_subscriptions where user_id = ${userId}`)
