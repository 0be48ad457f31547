import type { PendingQuery, Row } from 'postgres'
import type { Db, Tx } from '../platform/db/index.ts'
import { maybeOne } from '../platform/db/index.ts'
import type { AdminServer, AdminServerQuery } from './schemas.ts'
import { LINK_FRESH_S } from './timing.ts'

/** What of a server changes only by an act of staff or an enrolment. */
export type Facts = {
  id: string
  /** Changes with every change of the row that is not a load, a ping or a seat. */
  stamp: string
  hostname: string
  country: string
  country_code: string
  city: string
  location: string
  latitude: number | null
  longitude: number | null
  ip_address: string
  endpoint: string
  public_key: string | null
  tier: 'free' | 'premium'
  bandwidth_download: number | null
  bandwidth_upload: number | null
  features: string[]
  streaming_services: string[]
}

export type StoredStatus = 'active' | 'maintenance' | 'offline'

/** id, stamp, status, draining, max_connections, seat_balance, tunnels, linked, ping */
export type Tick = [string, string, StoredStatus, boolean, number, number, number, boolean, number | null]

const stamp = (db: Db) => db`extract(epoch from s.updated_at)::text`
const linked = (db: Db) =>
  db`(n.linked_at is not null and n.last_seen_at > clock_timestamp() - make_interval(secs => ${LINK_FRESH_S}))`

/** What changes by the second, of every server, in one scan of the index of held addresses. */
export async function readTicks(db: Db): Promise<Tick[]> {
  const rows = await db`
    select s.id, ${stamp(db)}, s.status, s.draining, s.max_connections, s.seat_balance,
           coalesce(h.tunnels, 0)::int, coalesce(${linked(db)}, false), coalesce(n.ping_ms, s.ping)
      from vpn_servers s
      left join nodes n on n.server_id = s.id
      left join (select server_id, count(*) as tunnels from leases where state = 'held' group by server_id) h
        on h.server_id = s.id`.values()
  return rows as unknown as Tick[]
}

/** The rest of these servers. */
export const readFacts = (db: Db, ids: string[]) => db<Facts[]>`
  select s.id, ${stamp(db)} as stamp, s.hostname, s.country, s.country_code, s.city, s.location, s.latitude, s.longitude,
         host(s.ip_address) as ip_address, s.endpoint, s.public_key, s.tier, s.bandwidth_download, s.bandwidth_upload,
         s.features, s.streaming_services
    from vpn_servers s where s.id = any (${ids}::uuid[])`

type Fragment = PendingQuery<Row[]>

type AdminRow = Facts & {
  status: StoredStatus
  draining: boolean
  max_connections: number
  seat_balance: number
  tunnels: number
  ping: number | null
  subnet_v4: string
  subnet_v6: string
  created_at: Date
  updated_at: Date
  node_id: string | null
  linked: boolean
  agent_version: string
  backend: 'kernel' | 'userspace'
  enrolled_at: Date
  linked_at: Date | null
  last_seen_at: Date | null
  load1: number | null
  cores: number | null
  conntrack: number | null
  warnings: string[]
}

export const shownStatus = (status: StoredStatus): AdminServer['status'] =>
  status === 'active' ? 'operational' : status

export const PROTOCOLS = ['wireguard']

/** 100 x tunnels / max_connections, at most 100, two decimals. */
export const loadPercent = (tunnels: number, max: number): number =>
  Math.min(100, Math.round((10_000 * tunnels) / max) / 100)

/** ms as customers and staff see it, one decimal. */
export const shownPing = (ms: number | null): number | null => (ms === null ? null : Math.round(ms * 10) / 10)

function adminView(row: AdminRow): AdminServer {
  const { id, linked, agent_version, backend, enrolled_at, linked_at, last_seen_at, load1, cores, conntrack } = row
  const node = { linked, agent_version, backend, enrolled_at, linked_at, last_seen_at, load1, cores, conntrack }
  return {
    ...row,
    id,
    protocols: PROTOCOLS,
    status: shownStatus(row.status),
    premium: row.tier === 'premium',
    load: loadPercent(row.tunnels, row.max_connections),
    ping: shownPing(row.ping),
    bandwidth: { download: row.bandwidth_download, upload: row.bandwidth_upload },
    room: Math.max(0, row.max_connections + Math.min(0, row.seat_balance) - row.tunnels),
    enrolled: row.node_id !== null,
    node: row.node_id === null ? null : { id: row.node_id, ...node, warnings: row.warnings },
  }
}

const adminRows = (db: Db, where: Fragment, rest: Fragment) => db<AdminRow[]>`
  select s.id, ${stamp(db)} as stamp, s.hostname, s.country, s.country_code, s.city, s.location, s.latitude, s.longitude,
         host(s.ip_address) as ip_address, s.endpoint, s.public_key, s.tier, s.bandwidth_download, s.bandwidth_upload,
         s.features, s.streaming_services, s.status, s.draining, s.max_connections, s.seat_balance,
         coalesce(n.ping_ms, s.ping) as ping, s.subnet_v4::text, s.subnet_v6::text, s.created_at, s.updated_at,
         (select count(*) from leases l where l.server_id = s.id and l.state = 'held')::int as tunnels,
         n.id as node_id, coalesce(${linked(db)}, false) as linked, n.agent_version, n.backend, n.enrolled_at, n.linked_at,
         n.last_seen_at, n.load1, n.cores, n.conntrack, n.warnings
    from vpn_servers s left join nodes n on n.server_id = s.id ${where} ${rest}`

/** A server with its node, or undefined. */
export async function adminServer(db: Db, id: string): Promise<AdminServer | undefined> {
  const row = await maybeOne(adminRows(db, db`where s.id = ${id}`, db``))
  return row && adminView(row)
}

const escaped = (text: string): string => `%${text.replace(/[\\%_]/g, '\\$&')}%`

/** A page of servers in the order of their names. */
export async function adminServers(db: Db, query: AdminServerQuery): Promise<{ total: number; data: AdminServer[] }> {
  const stored = query.status === 'operational' ? 'active' : (query.status ?? null)
  const pattern = query.search === undefined ? null : escaped(query.search)
  const where = db`
    where (${stored}::text is null or s.status = ${stored})
      and (${pattern}::text is null or concat_ws(' ', s.hostname, s.country, s.city, s.location) ilike ${pattern})`
  const [count] = await db<{ total: number }[]>`select count(*)::int as total from vpn_servers s ${where}`
  const offset = (query.page - 1) * query.per_page
  const rows = await adminRows(db, where, db`order by s.hostname limit ${query.per_page} offset ${offset}`)
  return { total: count?.total ?? 0, data: rows.map(adminView) }
}

/** Columns of `vpn_servers` as they are written. */
export type ServerColumns = {
  hostname: string
  country: string
  country_code: string
  city: string
  location: string
  latitude: number | null
  longitude: number | null
  endpoint: string
  ip_address: string
  tier: string
  bandwidth_download: number | null
  bandwidth_upload: number | null
  features: string[]
  streaming_services: string[]
}
export type NewRow = ServerColumns & { id: string; max_connections: number; subnet_v4: string; subnet_v6: string }

/** Inserts a server with the rows of its addresses. */
export async function insertServer(tx: Tx, row: NewRow): Promise<void> {
  await tx`insert into vpn_servers ${tx(row)}`
  await tx`select create_leases(${row.id})`
}

export type LockedServer = {
  id: string
  status: StoredStatus
  endpoint: string
  ip_address: string
  subnet_v4: string
  max_connections: number
  draining: boolean
}

/** Locks a server's row against other acts of staff and enrolments, not against connects. */
export const lockServer = (tx: Tx, id: string) =>
  maybeOne(tx<LockedServer[]>`
    select id, status, endpoint, host(ip_address) as ip_address, subnet_v4::text, max_connections, draining
      from vpn_servers where id = ${id} for no key update`)

export type ServerUpdate = Partial<
  ServerColumns & { status: StoredStatus; draining: boolean; public_key: string | null }
>

/** Writes these columns. */
export async function updateServer(tx: Tx, id: string, columns: ServerUpdate): Promise<void> {
  if (Object.keys(columns).length > 0) await tx`update vpn_servers set ${tx(columns)} where id = ${id}`
  await tx`update vpn_servers set updated_at = clock_timestamp() where id = ${id}`
}

export const resizeServer = async (tx: Tx, id: string, max: number): Promise<void> => {
  await tx`select resize_server(${id}, ${max})`
}

export const tunnelsOf = async (db: Db, id: string): Promise<number> => {
  const row = await maybeOne(db<{ n: number }[]>`
    select count(*)::int as n from leases where server_id = ${id} and state = 'held'`)
  return row?.n ?? 0
}

/** Ends the server's tunnels; their node is told. */
export const endTunnels = async (tx: Tx, id: string): Promise<void> => {
  await tx`select end_connections(array(
    select connection_id from leases where server_id = ${id} and connection_id is not null), 'server_removed')`
}

/** Addresses whose removal the node has not confirmed yet. */
export const clearingOf = async (db: Db, id: string): Promise<number> => {
  const row = await maybeOne(db<{ n: number }[]>`
    select count(*)::int as n from leases where server_id = ${id} and state = 'clearing'`)
  return row?.n ?? 0
}

export const removeServerRow = async (tx: Tx, id: string): Promise<void> => {
  await tx`select remove_server(${id})`
}
