import { maybeOne, type Db } from '../platform/db/index.ts'

/** A connection as its owner's calls need it. */
export type Connection = {
  id: string
  user_id: string
  server_id: string | null
  device_id: string | null
  status: 'connected' | 'disconnected'
  slot: number
  version: bigint
  started_at: Date
  ended_at: Date | null
  bytes_sent: bigint
  bytes_received: bigint
  peak_bytes_per_second: bigint
  totals_final: boolean
}

const columns = (db: Db) => db`
  c.id, c.user_id, c.server_id, c.device_id, c.status, c.lease_slot as slot, c.lease_version as version,
  c.started_at, c.ended_at, c.bytes_sent, c.bytes_received, c.peak_bytes_per_second, c.totals_final`

/** The user's own connection, whatever its state. */
export const ownConnection = (db: Db, userId: string, id: string): Promise<Connection | undefined> =>
  maybeOne(db<Connection[]>`select ${columns(db)} from connections c where c.id = ${id} and c.user_id = ${userId}`)

/** What a disconnect without id may mean: up to two active tunnels. */
export const activeConnections = (db: Db, userId: string): PromiseLike<Connection[]> => db<Connection[]>`
  select ${columns(db)} from connections c
   where c.user_id = ${userId} and c.status = 'connected' and c.superseded_at is null limit 2`

/** The tunnel that ended last. */
export const lastEnded = (db: Db, userId: string): Promise<Connection | undefined> =>
  maybeOne(db<Connection[]>`
    select ${columns(db)} from connections c
     where c.user_id = ${userId} and c.status = 'disconnected' order by c.ended_at desc limit 1`)

/** Tunnels that were moved away from to this one: they end with it. */
export const supersededBy = async (db: Db, userId: string, id: string): Promise<string[]> =>
  (
    await db<{ id: string }[]>`
      select id from connections where user_id = ${userId} and status = 'connected' and superseded_by = ${id}`
  ).map((row) => row.id)

/** Where the peer of an ended tunnel still is, with the version in which it is gone; undefined once that is confirmed. */
export const clearingOf = (
  db: Db,
  id: string,
): Promise<{ server_id: string; slot: number; version: bigint } | undefined> =>
  maybeOne(db<{ server_id: string; slot: number; version: bigint }[]>`
    select l.server_id, l.slot, l.version from connections c
      join leases l on l.server_id = c.server_id and l.slot = c.lease_slot
     where c.id = ${id} and l.last_connection_id = c.id and l.state = 'clearing'`)

/** The addresses a server answers and sends from. */
export const addressesOf = async (db: Db, serverId: string): Promise<string[]> => {
  const row = await maybeOne(db<{ addresses: string[] }[]>`
    select array(select host(a) from unnest(array_append(coalesce(n.exit_addresses, '{}'), s.ip_address)) a) as addresses
      from vpn_servers s left join nodes n on n.server_id = s.id where s.id = ${serverId}`)
  return row?.addresses ?? []
}

/** The node has told its last word on this tunnel; what it counted was stored before. */
export const markFinal = (db: Db, id: string) => db`
  update connections set totals_final = true, updated_at = clock_timestamp() where id = ${id} and not totals_final`

/** Keeps what the app counted, where it differs from ours; the first word stands. */
export const keepClientCounts = (db: Db, id: string, sent: bigint | null, received: bigint | null) => db`
  update connections set
    client_bytes_sent = coalesce(client_bytes_sent, nullif(${sent}::bigint, bytes_sent)),
    client_bytes_received = coalesce(client_bytes_received, nullif(${received}::bigint, bytes_received))
  where id = ${id}
    and (${sent}::bigint is distinct from bytes_sent or ${received}::bigint is distinct from bytes_received)`
