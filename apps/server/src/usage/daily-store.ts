import type { Db } from '../platform/db/index.ts'

/** Stands for 'no device' and 'a server that is gone' (RFC 9562, 5.9). */
export const NIL = '00000000-0000-0000-0000-000000000000'
const MOST = ((1n << 63n) - 1n).toString()
/** A look on the hour settles the hour before it, also the one after midnight. */
const LOOKS_BACK = '30 minutes'
/** Late counters of a removed peer are waited for so long. */
const STRAGGLERS = '1 hour'

/**
 * Adds what connections counted since they were last looked at to their days, and notes in the same statement that it
 * stands there: run twice, or killed anywhere, nothing counts twice or is lost. Rows are locked in the order of ids, as
 * everywhere.
 * @param after the last id of the page before
 * @returns where to go on; undefined when that was the last page
 */
export async function settlePage(db: Db, after: string | undefined, size: number): Promise<string | undefined> {
  const rows = await db<{ id: string }[]>`
    with due as materialized (
      select id, user_id, coalesce(server_id, ${NIL}::uuid) as server_id, coalesce(device_id, ${NIL}::uuid) as device_id,
             bytes_sent, bytes_received,
             floor(extract(epoch from coalesce(ended_at, clock_timestamp()) - started_at))::bigint as seconds,
             daily_sent, daily_received, daily_seconds, daily_counted,
             status = 'disconnected' and (totals_final or ended_at < clock_timestamp() - ${STRAGGLERS}::interval) as settled
        from connections
       where not daily_settled and id > ${after ?? NIL}::uuid
       order by id limit ${size} for no key update
    ), noted as (
      update connections c
         set daily_sent = due.bytes_sent, daily_received = due.bytes_received,
             daily_seconds = greatest(due.seconds, c.daily_seconds), daily_counted = true, daily_settled = due.settled
        from due where c.id = due.id
    ), added as (
      insert into usage_daily as u (user_id, day, server_id, device_id, bytes_sent, bytes_received, connections, duration_seconds)
      select user_id, (clock_timestamp() - ${LOOKS_BACK}::interval)::date, server_id, device_id,
             least(sum(bytes_sent - daily_sent), ${MOST}::numeric)::bigint,
             least(sum(bytes_received - daily_received), ${MOST}::numeric)::bigint,
             count(*) filter (where not daily_counted), sum(greatest(seconds - daily_seconds, 0))::bigint
        from due group by user_id, server_id, device_id
      on conflict (user_id, day, server_id, device_id) do update
        set bytes_sent = least(u.bytes_sent::numeric + excluded.bytes_sent, ${MOST}::numeric)::bigint,
            bytes_received = least(u.bytes_received::numeric + excluded.bytes_received, ${MOST}::numeric)::bigint,
            connections = u.connections + excluded.connections,
            duration_seconds = u.duration_seconds + excluded.duration_seconds
    )
    select id from due order by id desc limit 1`
  return rows[0]?.id
}

/** Deletes connections that ended so long ago and stand in the days. @returns how many */
export async function forgetPage(db: Db, retentionDays: number, size: number): Promise<number> {
  const gone = await db`
    delete from connections where id in (
      select id from connections
       where daily_settled and ended_at < clock_timestamp() - make_interval(days => ${retentionDays})
       limit ${size})`
  return gone.count
}
