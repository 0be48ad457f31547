import type { Db } from '../platform/db/index.ts'
import { NIL } from './daily-store.ts'

export const GROUPS = ['day', 'server', 'location', 'device'] as const
export type Group = (typeof GROUPS)[number]

export type StatisticsRow = {
  key: string
  bytes_sent: bigint
  bytes_received: bigint
  connections: bigint
  duration_seconds: bigint
}

const MOST = ((1n << 63n) - 1n).toString()
const MAX_ROWS = 10_000

const keyOf = (db: Db, group: Group) =>
  ({
    day: () => db`used.day::text`,
    server: () => db`coalesce(nullif(used.server_id, ${NIL}::uuid)::text, 'unknown')`,
    location: () => db`coalesce(s.location, 'unknown')`,
    device: () => db`coalesce(nullif(used.device_id, ${NIL}::uuid)::text, 'none')`,
  })[group]()

/**
 * What was used on the days from `from` to `to` (whole UTC days, both included): the days themselves, and what running
 * tunnels carried since the last look, which counts for today.
 * @param userId null = everybody
 */
export function readStatistics(
  db: Db,
  { userId, from, to, group }: { userId: string | null; from: Date; to: Date; group: Group },
): Promise<StatisticsRow[]> {
  const ofUser = userId === null ? db`true` : db`user_id = ${userId}`
  const key = keyOf(db, group)
  return db<StatisticsRow[]>`
    with used as (
      select day, server_id, device_id, bytes_sent, bytes_received, connections, duration_seconds
        from usage_daily where ${ofUser} and day between ${from}::timestamptz::date and ${to}::timestamptz::date
      union all
      select clock_timestamp()::date, coalesce(server_id, ${NIL}::uuid), coalesce(device_id, ${NIL}::uuid),
             bytes_sent - daily_sent, bytes_received - daily_received, case when daily_counted then 0 else 1 end,
             greatest(0, floor(extract(epoch from coalesce(ended_at, clock_timestamp()) - started_at))::bigint - daily_seconds)
        from connections
       where ${ofUser} and not daily_settled
         and clock_timestamp()::date between ${from}::timestamptz::date and ${to}::timestamptz::date
    )
    select ${key} as key, least(sum(used.bytes_sent), ${MOST}::numeric)::bigint as bytes_sent,
           least(sum(used.bytes_received), ${MOST}::numeric)::bigint as bytes_received,
           sum(used.connections)::bigint as connections, sum(used.duration_seconds)::bigint as duration_seconds
      from used left join vpn_servers s on s.id = used.server_id
     group by 1 order by 1 limit ${MAX_ROWS}`
}
