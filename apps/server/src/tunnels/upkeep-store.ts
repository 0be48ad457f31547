import { one, type Db } from '../platform/db/index.ts'

/** The peers of tunnels that ended with a delay go, as far as it is over. @returns how many */
export async function releaseLeaving(db: Db): Promise<number> {
  return (await one(db<{ released: number }[]>`select release_leaving() as released`)).released
}

/** Seats that ends could not account for at once are given back. */
export const settleSeatDebts = async (db: Db): Promise<void> => {
  await db`select settle_seat_debts()`
}

/**
 * Tunnels that were moved away from and need no peer any more: the new one had its first handshake, is over, or the time
 * is up. A tunnel that was revived counts handshakes since its revival only.
 */
export const dueSuperseded = (db: Db): PromiseLike<{ id: string; rekeyed: boolean }[]> => db<
  { id: string; rekeyed: boolean }[]
>`
      select old.id, coalesce(new.client_public_key <> old.client_public_key, false) as rekeyed from connections old left join connections new on new.id = old.superseded_by
       where old.status = 'connected' and old.superseded_at is not null
         and (old.superseded_until <= clock_timestamp()
           or new.status = 'disconnected'
           or (new.superseded_at is null
               and new.last_handshake_at >= case when new.started_at >= old.superseded_at then '-infinity' else old.superseded_at end))`

/** Users who hold more than they may now: a plan that ran out, a limit that was lowered, a server that became premium. */
export const overEntitled = async (db: Db): Promise<string[]> =>
  (
    await db<{ user_id: string }[]>`
      select c.user_id
        from connections c join entitlements e on e.user_id = c.user_id left join vpn_servers s on s.id = c.server_id
       where c.status = 'connected' and c.superseded_at is null
       group by c.user_id, e.is_active, e.tier, e.max_connections
      having not e.is_active or count(*) > e.max_connections
          or bool_or(e.tier = 'free' and s.tier is not distinct from 'premium')`
  ).map((row) => row.user_id)

/** Tunnels without device that nobody has used for so long. Those of devices never end for idleness. */
export const idleTunnels = async (db: Db, hours: number): Promise<string[]> =>
  (
    await db<{ id: string }[]>`
      select id from connections
       where status = 'connected' and superseded_at is null and device_id is null
         and greatest(started_at, kept_at, last_handshake_at) < clock_timestamp() - make_interval(hours => ${hours})
       limit 1000`
  ).map((row) => row.id)

const KEY_DAYS = 60

/** Keys that no device and no connection names any more lose their owner. @returns how many */
export async function forgetUnusedKeys(db: Db): Promise<number> {
  const gone = await db`
    delete from wireguard_keys k
     where k.public_key in (
       select u.public_key from wireguard_keys u
        where u.created_at < clock_timestamp() - make_interval(days => ${KEY_DAYS})
          and not exists (select from devices d where d.public_key = u.public_key)
          and not exists (select from connections c where c.user_id = u.user_id and c.client_public_key = u.public_key)
        limit 1000 for update skip locked)
       and not exists (select from connections c where c.user_id = k.user_id and c.client_public_key = k.public_key)`
  return gone.count
}
