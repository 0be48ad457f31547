import type { CounterAccount } from '@prime-vpn/node-protocol'
import type { Db } from '../platform/db/index.ts'

export type StoredAccount = { connectionId: string; account: CounterAccount }

/** What is stored of these connections' counters. */
export async function accountsOf(db: Db, ids: readonly string[]): Promise<StoredAccount[]> {
  const rows = await db<
    {
      id: string
      counter_epoch: bigint
      bytes_sent: bigint
      bytes_received: bigint
      base_sent: bigint
      base_received: bigint
      last_handshake_at: Date | null
    }[]
  >`
    select id, counter_epoch, bytes_sent, bytes_received, base_sent, base_received, last_handshake_at
      from connections where id = any(${[...ids]}::uuid[])`
  return rows.map((row) => ({
    connectionId: row.id,
    account: {
      epoch: Number(row.counter_epoch),
      baseRx: row.base_sent,
      baseTx: row.base_received,
      rx: row.bytes_sent,
      tx: row.bytes_received,
      handshakeAt: Math.floor((row.last_handshake_at?.getTime() ?? 0) / 1000),
    },
  }))
}

export type ShownTunnel = { userId: string; connectionId: string; serverId: string; slot: number; version: number }

/** The active tunnels of these users. */
export async function shownTunnels(db: Db, users: readonly string[]): Promise<ShownTunnel[]> {
  const rows = await db<
    { user_id: string; connection_id: string; server_id: string; slot: number; version: bigint }[]
  >`select user_id, connection_id, server_id, slot, version
      from tunnels_shown where user_id = any(${[...users]}::uuid[]) order by connection_id`
  return rows.map((row) => ({
    userId: row.user_id,
    connectionId: row.connection_id,
    serverId: row.server_id,
    slot: row.slot,
    version: Number(row.version),
  }))
}

/** Why tunnels are no longer shown. */
export const fatesOf = (db: Db, ids: readonly string[]) => db<
  { id: string; moved: boolean; reason: string | null }[]
>`select id, superseded_by is not null as moved, coalesce(end_reason, case when superseded_at is not null then 'replaced' end) as reason
    from connections where id = any(${[...ids]}::uuid[])`
