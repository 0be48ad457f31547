import type { Peer, SlotChange } from '@prime-vpn/node-protocol'
import { one, type Sql } from '../platform/db/index.ts'
import type { Secrets } from '../platform/secrets.ts'
import { openPsk } from './psk.ts'

type Row = {
  slot: number
  version: string
  public_key: string | null
  preshared_key: string | null
  connection_id: string | null
  address: string
  address6: string
}

/**
 * What the nodes should hold: the lease rows themselves (docs/decisions/0007). A horizon is the oldest transaction that
 * was still open when the rows were read; whatever commits later carries that id or a younger one, so that reading
 * 'changed at or after the horizon' can repeat a change but never miss one.
 */
export function desiredState(db: Sql, secrets: Secrets) {
  const peerOf = (row: Row): Peer | null =>
    row.public_key === null || row.preshared_key === null || row.connection_id === null
      ? null
      : {
          public_key: row.public_key,
          preshared_key: openPsk(secrets, row.connection_id, Buffer.from(row.preshared_key, 'base64')),
          allowed_ips: [`${row.address}/32`, `${row.address6}/128`],
        }

  return {
    /**
     * The slots of a server as they are now and the horizon of that moment, read in one snapshot.
     * @param horizon only slots changed at or after it; null, or one this database has never reached: every slot ever used
     */
    async changesSince(serverId: string, horizon: string | null): Promise<{ horizon: string; rows: SlotChange[] }> {
      const read = await one(db<{ horizon: string; rows: Row[] }[]>`
        select pg_snapshot_xmin(pg_current_snapshot())::text as horizon,
               coalesce((
                 select json_agg(json_build_object(
                          'slot', l.slot, 'version', l.version::text, 'public_key', l.public_key,
                          'preshared_key', translate(encode(l.preshared_key, 'base64'), E'\n', ''),
                          'connection_id', l.connection_id,
                          'address', host(network(s.subnet_v4) + l.slot), 'address6', host(network(s.subnet_v6) + l.slot)))
                   from vpn_servers s join leases l on l.server_id = s.id
                  where s.id = ${serverId} and l.version > 0
                    and l.changed_xid >= case when ${horizon}::text::xid8 <= pg_snapshot_xmax(pg_current_snapshot())
                                              then ${horizon}::text::xid8 else '0'::xid8 end), '[]') as rows`)
      const rows = read.rows.map((row) => ({ slot: row.slot, version: Number(row.version), peer: peerOf(row) }))
      return { horizon: read.horizon, rows }
    },

    /** The node's kernel holds nobody in these slots as of these versions: their addresses begin to rest. */
    async cleared(serverId: string, slots: readonly { slot: number; version: number }[]): Promise<void> {
      if (slots.length === 0) return
      const sorted = slots.toSorted((a, b) => a.slot - b.slot)
      await db`select confirm_cleared(${serverId}, ${sorted.map((s) => s.slot)}::int[],
                                      ${sorted.map((s) => s.version)}::bigint[])`
    },

    /** The same for every slot emptied below this horizon. */
    async clearedBelow(serverId: string, horizon: string): Promise<void> {
      await db`select confirm_cleared_below(${serverId}, ${horizon}::text::xid8)`
    },
  }
}
