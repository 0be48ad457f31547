import { maybeOne, type Db, type Tx } from '../platform/db/index.ts'
import { LINK_FRESH_S, OFFLINE_AFTER_S } from './timing.ts'

/** The id of a server's node, or undefined. */
export const nodeOf = async (db: Db, serverId: string): Promise<string | undefined> =>
  (await maybeOne(db<{ id: string }[]>`select id from nodes where server_id = ${serverId}`))?.id

/** Takes the server's node away: its identity opens no link any more, and customers no longer see the server. */
export async function cutOffNode(tx: Tx, serverId: string): Promise<void> {
  await tx`delete from nodes where server_id = ${serverId}`
  await tx`update vpn_servers
              set public_key = null, status = case status when 'active' then 'offline' else status end,
                  updated_at = clock_timestamp()
            where id = ${serverId}`
}

/** The one live token of a server; one before it is revoked. */
export async function putToken(
  tx: Tx,
  serverId: string,
  hash: Buffer,
  seconds: number,
  replaces: boolean,
): Promise<Date> {
  const rows = await tx<{ expires_at: Date }[]>`
    insert into enrollment_tokens (server_id, hash, expires_at, replaces)
    values (${serverId}, ${hash}, clock_timestamp() + make_interval(secs => ${seconds}), ${replaces})
    on conflict (server_id) do update
      set hash = excluded.hash, expires_at = excluded.expires_at, replaces = excluded.replaces,
          created_at = clock_timestamp()
    returning expires_at`
  const [row] = rows
  if (!row) throw new Error('a token that was written is not there')
  return row.expires_at
}

/** Whose token this is, live or not. */
export const tokenServer = async (db: Db, hash: Buffer): Promise<string | undefined> =>
  (await maybeOne(db<{ server_id: string }[]>`select server_id from enrollment_tokens where hash = ${hash}`))?.server_id

/** Uses the token up. False when it is no longer live. */
export const takeToken = async (tx: Tx, hash: Buffer): Promise<boolean> =>
  (
    await tx`delete from enrollment_tokens where hash = ${hash} and expires_at > clock_timestamp() returning true as taken`
  ).length > 0

export type NewNode = {
  id: string
  server_id: string
  identity_key: Buffer
  backend: 'kernel' | 'userspace'
  agent_version: string
  listen_port: number | null
}

export const insertNode = async (tx: Tx, node: NewNode): Promise<void> => {
  await tx`insert into nodes ${tx(node)}`
}

export type LinkRow = {
  node_id: string
  server_id: string
  identity_key: Buffer
  hostname: string
  ip_address: string
  endpoint: string
  listen_port: number | null
  subnet_v4: string
  subnet_v6: string
}

/** What is needed to judge and to greet a node's link. */
export const linkRow = (db: Db, nodeId: string) =>
  maybeOne(db<LinkRow[]>`
    select n.id as node_id, n.server_id, n.identity_key, s.hostname, host(s.ip_address) as ip_address, s.endpoint, n.listen_port,
           s.subnet_v4::text, s.subnet_v6::text
      from nodes n join vpn_servers s on s.id = n.server_id where n.id = ${nodeId}`)

/** Notes an open link; a server that was offline is back. False when the node is unknown. */
export async function noteLinked(
  tx: Tx,
  nodeId: string,
  link: { linkId: string; agentVersion: string; backend: string },
): Promise<{ server_id: string; returned: boolean } | undefined> {
  const node = await maybeOne(tx<{ server_id: string }[]>`
    update nodes set link_id = ${link.linkId}, linked_at = clock_timestamp(), last_seen_at = clock_timestamp(),
                     agent_version = ${link.agentVersion}, backend = ${link.backend}
     where id = ${nodeId} returning server_id`)
  if (!node) return undefined
  const back = await tx`
    update vpn_servers set status = 'active', updated_at = clock_timestamp()
     where id = ${node.server_id} and status = 'offline' returning id`
  return { server_id: node.server_id, returned: back.length > 0 }
}

/** Notes that this link is gone, unless a newer one is open. */
export const noteUnlinked = async (db: Db, nodeId: string, linkId: string): Promise<string | undefined> =>
  (
    await maybeOne(db<{ server_id: string }[]>`
      update nodes set linked_at = null, link_id = null, last_seen_at = clock_timestamp()
       where id = ${nodeId} and link_id = ${linkId} returning server_id`)
  )?.server_id

export type HealthRow = {
  nodeId: string
  linkId: string
  load1: number | null
  cores: number | null
  conntrack: number | null
  /** Round trip over the link in ms. */
  pingMs: number | null
  warnings: string[] | null
  exits: readonly string[] | null
}

/** Writes many nodes' heartbeats at once; null leaves what was known. A link that is not the open one says nothing. */
export async function noteHealth(db: Db, rows: readonly HealthRow[]): Promise<void> {
  await db`
    update nodes n
       set last_seen_at = clock_timestamp(), linked_at = coalesce(n.linked_at, clock_timestamp()),
           load1 = coalesce(h.load1, n.load1), cores = coalesce(h.cores, n.cores),
           conntrack = case when h.load1 is null then n.conntrack else h.conntrack end,
           ping_ms = coalesce(h.ping_ms, n.ping_ms),
           warnings = case when h.warnings is null then n.warnings
                           else array(select jsonb_array_elements_text(h.warnings::jsonb)) end,
           exit_addresses = coalesce(string_to_array(h.exits, ',')::inet[], n.exit_addresses)
      from unnest(${rows.map((r) => r.nodeId)}::uuid[], ${rows.map((r) => r.linkId)}::uuid[],
                  ${rows.map((r) => r.load1)}::float8[], ${rows.map((r) => r.cores)}::int[],
                  ${rows.map((r) => r.conntrack)}::float8[], ${rows.map((r) => r.pingMs)}::float8[],
                  ${rows.map((r) => (r.warnings ? JSON.stringify(r.warnings) : null))}::text[],
                  ${rows.map((r) => r.exits?.join() ?? null)}::text[])
           as h(node_id, link_id, load1, cores, conntrack, ping_ms, warnings, exits)
     where n.id = h.node_id and n.link_id = h.link_id`
}

/** A node's new WireGuard key. False when the node is unknown. */
export const putServerKey = async (db: Db, nodeId: string, publicKey: string): Promise<string | undefined> =>
  (
    await maybeOne(db<{ id: string }[]>`
      update vpn_servers s set public_key = ${publicKey}, updated_at = clock_timestamp()
        from nodes n where n.id = ${nodeId} and n.server_id = s.id returning s.id`)
  )?.id

/** Any number: one instance at a time settles. */
const TURN = 7_460_021

export type StatusChange = { server_id: string; status: 'active' | 'offline' }

/**
 * Writes status, load and ping where they differ from what nodes and tunnels say, and brings free seats in line. Rows that
 * somebody else holds are left for the next round, so that nobody waits for this. Safe on several instances.
 */
export async function settleFleet(tx: Tx): Promise<StatusChange[]> {
  const [turn] = await tx<{ mine: boolean }[]>`select pg_try_advisory_xact_lock(${TURN}) as mine`
  if (!turn?.mine) return []
  const changes = await tx<StatusChange[]>`
    with due as materialized (
      select s.id, case s.status when 'active' then 'offline' else 'active' end as status
        from vpn_servers s left join nodes n on n.server_id = s.id
       where (s.status = 'active'
              and coalesce(n.last_seen_at < clock_timestamp() - make_interval(secs => ${OFFLINE_AFTER_S}), true))
          or (s.status = 'offline' and n.linked_at is not null
              and n.last_seen_at > clock_timestamp() - make_interval(secs => ${LINK_FRESH_S}))
         for no key update of s skip locked)
    update vpn_servers s set status = due.status, updated_at = clock_timestamp()
      from due where s.id = due.id returning s.id as server_id, s.status`
  await tx`
    with due as materialized (
      select s.id, round(100.0 * coalesce(h.tunnels, 0) / s.max_connections)::int as load, coalesce(n.ping_ms, s.ping) as ping
        from vpn_servers s
        left join nodes n on n.server_id = s.id
        left join (select server_id, count(*) as tunnels from leases where state = 'held' group by server_id) h
          on h.server_id = s.id
       where s.current_load <> round(100.0 * coalesce(h.tunnels, 0) / s.max_connections)::int
          or s.ping is distinct from coalesce(n.ping_ms, s.ping)
         for no key update of s skip locked)
    update vpn_servers s set current_load = due.load, ping = due.ping from due where s.id = due.id`
  await tx`
    with due as materialized (select id from vpn_servers where seat_balance <> 0 for no key update skip locked)
    select settle_seats(id) from due`
  return changes
}
