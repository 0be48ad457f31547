import type { FastifyRequest } from 'fastify'
import type { AccountView } from '../accounts/index.ts'
import { principalOf, type SessionQuery, type SessionRow } from '../auth/index.ts'
import type { DeviceView } from '../devices/index.ts'
import type { Subscription } from '../entitlements/index.ts'
import { maybeOne, type Db } from '../platform/db/index.ts'
import { NotFound } from '../platform/errors.ts'

/** A row of the view `account_overviews`. */
type Overview = AccountView &
  Subscription & { devices: (Omit<DeviceView, 'last_connected'> & { last_connected: string | null })[] }
type SessionWithOverview = SessionRow & Overview

export type Me = AccountView & {
  subscription: Subscription & { expiry_date: Date | null }
  devices: DeviceView[]
}

const dateOf = (text: string | null): Date | null => (text === null ? null : new Date(text))

function shown(row: Overview): Me {
  const { id, email, full_name, role, created_at, is_active, is_superuser, is_verified } = row
  const { plan, plan_type, status, start_date, end_date, auto_renew, devices } = row
  return {
    id,
    email,
    full_name,
    role,
    created_at,
    is_active,
    is_superuser,
    is_verified,
    subscription: { plan, plan_type, status, start_date, end_date, expiry_date: end_date, auto_renew },
    devices: devices.map((device) => ({ ...device, last_connected: dateOf(device.last_connected) })),
  }
}

/** An account with its subscription and devices, in one round trip. @throws {NotFound} */
export async function readMe(db: Db, userId: string): Promise<Me> {
  const row = await maybeOne(db<Overview[]>`select * from account_overviews where id = ${userId}`)
  if (!row) throw new NotFound('The user')
  return shown(row)
}

/** The session's check and the whole answer of GET /users/me in the same round trip. */
export const readSessionsAndMe: SessionQuery = (db, ids, userIds) => db<(SessionWithOverview & { nth: number })[]>`
  select k.nth::int, l.kind, l.must_change_password, l.expires_at, l.plan_id, l.tier, l.max_devices, l.max_connections,
         l.plan_expires_at, l.opened_at, l.last_used_at, l.staff_has_factor, l.secret_hash,
         l.user_id as id, l.email, l.full_name, l.role, l.created_at, l.is_active, l.is_superuser, l.is_verified,
         l.plan_id as plan, l.plan_type, l.status, l.start_date, l.end_date, l.auto_renew,
         coalesce((select d.devices from device_lists d where d.user_id = l.user_id), '[]'::json) as devices
    from unnest(${ids}::uuid[], ${userIds}::uuid[]) with ordinality k (id, user_id, nth)
    join live_sessions l on l.id = k.id and l.user_id = k.user_id`

/** What `readSessionsAndMe` brought for this request; read now for callers without a session. */
export const meOf = async (req: FastifyRequest, db: Db): Promise<Me> =>
  req.sessionRow ? shown(req.sessionRow as SessionWithOverview) : readMe(db, principalOf(req).userId)
