import { accountColumns, type AccountView } from '../accounts/index.ts'
import { devicesAsJson, type DeviceView } from '../devices/index.ts'
import { subscriptionColumns, subscriptionJoin, type Subscription } from '../entitlements/index.ts'
import { maybeOne, type Sql } from '../platform/db/index.ts'
import { NotFound } from '../platform/errors.ts'

type Row = AccountView &
  Subscription & { devices: (Omit<DeviceView, 'last_connected'> & { last_connected: string | null })[] }

export type Me = AccountView & {
  subscription: Subscription & { expiry_date: Date | null }
  devices: DeviceView[]
}

const dateOf = (text: string | null): Date | null => (text === null ? null : new Date(text))

/** An account with its subscription and devices, in one round trip. @throws {NotFound} */
export async function readMe(db: Sql, userId: string): Promise<Me> {
  const row = await maybeOne(db<Row[]>`
    select ${accountColumns(db)}, ${subscriptionColumns(db)}, ${devicesAsJson(db, db`u.id`)} as devices
      from users u ${subscriptionJoin(db)} where u.id = ${userId}`)
  if (!row) throw new NotFound('The user')
  const { plan, plan_type, status, start_date, end_date, auto_renew, devices, ...account } = row
  return {
    ...account,
    subscription: { plan, plan_type, status, start_date, end_date, expiry_date: end_date, auto_renew },
    devices: devices.map((device) => ({ ...device, last_connected: dateOf(device.last_connected) })),
  }
}
