import type { Db } from '../platform/db/index.ts'

/** One slot's counters, fit to be added to its connection. */
export interface Counted {
  serverId: string
  slot: number
  version: number
  /** Milliseconds since 1970 when the kernel began to count. */
  epoch: number
  /** Bytes the node received from the customer, who sent them; and the other way. */
  rx: bigint
  tx: bigint
  /** Seconds since 1970, 0 = never. */
  handshakeAt: number
  /** Highest average between two reports, up and down together. */
  bytesPerSecond: bigint
  /** The peer was removed; nothing follows. */
  final: boolean
}

/** Totals stop here, so that no node can make a sum overflow. */
const MOST = (1n << 62n).toString()

/**
 * Adds counters to the connections they belong to: the rule of `foldCounters` in one statement. Cumulative, so that the
 * same report twice changes nothing. A connection owns the versions of its slot from the one it was made with. Writes
 * no indexed column (HOT), and no row that stays as it is.
 * @param batch at most one entry for each slot
 * @returns how many connections changed
 */
export async function foldReports(db: Db, batch: readonly Counted[]): Promise<number> {
  const changed = await db`
    with told as materialized (
      select * from unnest(
        ${batch.map((c) => c.serverId)}::uuid[], ${batch.map((c) => c.slot)}::int[],
        ${batch.map((c) => String(c.version))}::bigint[], ${batch.map((c) => String(c.epoch))}::bigint[],
        ${batch.map((c) => String(c.rx))}::bigint[], ${batch.map((c) => String(c.tx))}::bigint[],
        ${batch.map((c) => String(c.handshakeAt))}::bigint[], ${batch.map((c) => String(c.bytesPerSecond))}::bigint[],
        ${batch.map((c) => String(c.final))}::text[]::boolean[]
      ) as t(server_id, slot, version, epoch, rx, tx, handshake_at, bytes_per_second, final)
    ), target as materialized (
      select c.id, c.counter_epoch, c.bytes_sent, c.bytes_received, c.status, t.epoch, t.rx, t.tx, t.bytes_per_second, t.final,
             case when t.handshake_at > 0 then to_timestamp(t.handshake_at) end as handshake_at,
             case when t.epoch > c.counter_epoch then c.bytes_sent else c.base_sent end as base_sent,
             case when t.epoch > c.counter_epoch then c.bytes_received else c.base_received end as base_received
        from told t
        join leases l on l.server_id = t.server_id and l.slot = t.slot
        join connections c on c.id = l.last_connection_id and t.version between c.lease_version and l.version
       order by c.id for no key update of c
    ), sums as (
      select id, final and status = 'disconnected' as final, handshake_at, bytes_per_second, base_sent, base_received,
             greatest(epoch, counter_epoch) as epoch, epoch >= counter_epoch as counts,
             greatest(bytes_sent, least(base_sent + rx, ${MOST}::bigint)) as sent,
             greatest(bytes_received, least(base_received + tx, ${MOST}::bigint)) as received
        from target
    )
    update connections c
       set bytes_sent = case when s.counts then s.sent else c.bytes_sent end,
           bytes_received = case when s.counts then s.received else c.bytes_received end,
           base_sent = case when s.counts then s.base_sent else c.base_sent end,
           base_received = case when s.counts then s.base_received else c.base_received end,
           counter_epoch = s.epoch,
           last_handshake_at = greatest(c.last_handshake_at, s.handshake_at),
           peak_bytes_per_second = greatest(c.peak_bytes_per_second, s.bytes_per_second),
           totals_final = c.totals_final or s.final,
           daily_settled = c.daily_settled and not (s.counts and (s.sent > c.bytes_sent or s.received > c.bytes_received)),
           reported_at = clock_timestamp(), updated_at = clock_timestamp()
      from sums s
     where c.id = s.id
       and ((s.counts and (s.sent > c.bytes_sent or s.received > c.bytes_received or s.epoch > c.counter_epoch))
            or s.handshake_at > coalesce(c.last_handshake_at, '-infinity') or s.final > c.totals_final
            or s.bytes_per_second > c.peak_bytes_per_second)`
  return changed.count
}
