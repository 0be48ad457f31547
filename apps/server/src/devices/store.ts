import { maybeOne, one, type Db, type Sql, type Tx } from '../platform/db/index.ts'
import type { Page } from '../platform/http/index.ts'

/** A device as its owner sees it; `ip_address` is that of its tunnel. */
export type DeviceView = {
  id: string
  name: string
  platform: string
  public_key: string | null
  last_connected: Date | null
  ip_address: string | null
}

export type NewDevice = { name: string; platform: string; public_key?: string | undefined }

/**
 * The locks that connecting takes too, in the same order (migration 0007): what one user does to devices and tunnels
 * happens one after another.
 */
export async function lockUser(db: Db, userId: string): Promise<void> {
  await db`select from users where id = ${userId} for key share`
  await db`select lock_user(${userId})`
}

/** For the deletion of a device through its own tunnel: the peer goes so many milliseconds after the commit. */
export const lingerPeers = (db: Db, ms: number) => db`select set_config('prime.linger_ms', ${String(ms)}, true)`

const view = (db: Db) => (db as Sql)`
  d.id, d.name, d.platform, d.public_key, d.last_connected_at as last_connected, host(t.client_ip) as ip_address`

/** Notes who brought a key. @returns false when it is another account's */
export async function claimKey(db: Db, userId: string, key: string): Promise<boolean> {
  const rows = await db`
    with claimed as (
      insert into wireguard_keys (public_key, user_id) values (${key}, ${userId})
      on conflict (public_key) do nothing returning true)
    select from claimed union all
    select from wireguard_keys where public_key = ${key} and user_id = ${userId}`
  return rows.length > 0
}

export const releaseKey = (db: Db, userId: string, key: string) => db`select release_key(${userId}, ${key})`

/**
 * Takes the lowest free slot of those the plan gives at this moment. Unique (user_id, slot) and the user's lock settle
 * races; a count alone reads an old snapshot and lets both in.
 * @returns undefined when the plan has no room
 * @throws unique violation `devices_public_key_key` when another device has the key
 */
export const insertDevice = (
  db: Db,
  id: string,
  userId: string,
  device: Omit<NewDevice, 'public_key'> & { public_key: string | null },
): Promise<DeviceView | undefined> =>
  maybeOne(db<DeviceView[]>`
    insert into devices (id, user_id, slot, name, platform, public_key)
    select ${id}, e.user_id, s, ${device.name}, ${device.platform}, ${device.public_key}
      from entitlements e, generate_series(0, e.max_devices - 1) s
     where e.user_id = ${userId}
       and not exists (select from devices d where d.user_id = e.user_id and d.slot = s)
       and (select count(*) from devices d where d.user_id = e.user_id) < e.max_devices
     order by s limit 1
    returning id, name, platform, public_key, last_connected_at as last_connected, null as ip_address`)

export const deviceById = (db: Db, userId: string, id: string): Promise<DeviceView | undefined> =>
  maybeOne(db<DeviceView[]>`
    select ${view(db)} from devices d left join device_tunnels t on t.device_id = d.id
     where d.id = ${id} and d.user_id = ${userId}`)

export async function listDevices(db: Db, userId: string, page: Page): Promise<{ rows: DeviceView[]; total: number }> {
  const rows = await db<DeviceView[]>`
    select ${view(db)} from devices d left join device_tunnels t on t.device_id = d.id
     where d.user_id = ${userId}
     order by d.slot limit ${page.per_page} offset ${(page.page - 1) * page.per_page}`
  const [{ total } = { total: 0n }] = await db<{ total: bigint }[]>`
    select count(*) as total from devices where user_id = ${userId}`
  return { rows, total: Number(total) }
}

/** Removes a device; a trigger ends its tunnels in the same transaction. @returns its key, undefined when there is none such */
export const deleteDevice = (db: Db, userId: string, id: string): Promise<{ public_key: string | null } | undefined> =>
  maybeOne(db<{ public_key: string | null }[]>`
    delete from devices where id = ${id} and user_id = ${userId} returning public_key`)

export const deleteDevices = (db: Db, userId: string) =>
  db<{ public_key: string | null }[]>`delete from devices where user_id = ${userId} returning public_key`

type KeyChange = { outcome: 'replaced' | 'same' | 'device_gone' | 'key_in_use'; previous: string | null }

/** Gives a device another key, under the user's lock; its tunnel is the caller's to change in the same transaction. */
export const replaceDeviceKey = (tx: Tx, userId: string, id: string, key: string): Promise<KeyChange> =>
  one(tx<KeyChange[]>`select outcome, previous from replace_device_key(${userId}, ${id}, ${key})`)

/** Since when a device has its key. */
export const keySince = async (db: Db, id: string): Promise<Date | undefined> =>
  (
    await maybeOne(
      db<{ since: Date }[]>`select coalesce(key_changed_at, created_at) as since from devices where id = ${id}`,
    )
  )?.since
