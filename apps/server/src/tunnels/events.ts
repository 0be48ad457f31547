import { z } from 'zod'
import type { Sql } from '../platform/db/index.ts'
import { KvUnavailable, type Kv } from '../platform/kv/index.ts'
import type { Log } from '../platform/log.ts'
import type { Claim } from './claim-store.ts'
import type { LiveKey, TunnelDeps } from './deps.ts'

/** Where every instance hears of tunnels that began, moved or ended. Messages are `TunnelEvent` as JSON. */
export const CONNECTION_EVENTS = 'connection-events'

export const TunnelEvent = z.object({
  user_id: z.string(),
  connection_id: z.string(),
  status: z.enum(['connected', 'disconnected', 'moved']),
  reason: z.string().nullable(),
  server_id: z.string().nullable(),
  slot: z.number(),
  version: z.number(),
})
export type TunnelEvent = z.infer<typeof TunnelEvent>

const CHANNEL = 'tunnel_ended'
/** An end is heard by every instance and told on by one; it may be heard again after a lost connection. */
const TOLD_ONCE_MS = 600_000
const CATCH_UP_S = 120

const End = z.object({
  connection_id: z.string(),
  user_id: z.string(),
  server_id: z.string().nullable(),
  slot: z.number(),
  version: z.number(),
  reason: z.string().nullable(),
})
type End = z.infer<typeof End>

/** Sockets are told as well as can be: without the store nothing is lost but the moment. */
async function publish(kv: Kv, event: TunnelEvent): Promise<void> {
  try {
    await kv.publish(CONNECTION_EVENTS, JSON.stringify(event))
  } catch (error) {
    if (!(error instanceof KvUnavailable)) throw error
  }
}

async function tellEnd(kv: Kv, { connection_id, user_id, server_id, slot, version, reason }: End): Promise<void> {
  try {
    if (!(await kv.setOnce(`tunnel-ended:${connection_id}`, '1', TOLD_ONCE_MS))) return
  } catch (error) {
    if (!(error instanceof KvUnavailable)) throw error
    return
  }
  await publish(kv, { user_id, connection_id, status: 'disconnected', reason, server_id, slot, version })
}

/** After the answer is certain: the new tunnel, and the move of those it replaces. These are watched, so that the first handshake is seen at once. */
export function announceConnected({ kv, live, log }: TunnelDeps, userId: string, claim: Claim): void {
  const key: LiveKey = {
    connectionId: claim.connection,
    serverId: claim.server,
    slot: claim.slot,
    version: claim.version,
  }
  const event = { user_id: userId, server_id: claim.server, slot: claim.slot, version: claim.version }
  const events: TunnelEvent[] = [
    ...(claim.outcome === 'connected' || claim.revived
      ? [{ ...event, connection_id: claim.connection, status: 'connected' as const, reason: null }]
      : []),
    ...claim.replaced.map((id) => ({ ...event, connection_id: id, status: 'moved' as const, reason: 'replaced' })),
  ]
  if (claim.replaced.length > 0) live.watch([key])
  for (const each of events) publish(kv, each).catch((err: unknown) => log.warn({ err }, 'an event was not told'))
}

/** Ends of the last two minutes, for a listener that was away. */
const recentEnds = (db: Sql) => db<(Omit<End, 'version'> & { version: bigint })[]>`
  select id as connection_id, user_id, server_id, lease_slot as slot, lease_version as version, end_reason as reason
    from connections where ended_at > clock_timestamp() - make_interval(secs => ${CATCH_UP_S})`

/**
 * Tells every instance of each end, whoever caused it: the database notifies with the commit (a call, a trigger, a
 * cascade). @returns ends the listening
 */
export async function listenForEnds(db: Sql, kv: Kv, log: Log): Promise<() => Promise<void>> {
  const tell = async (ends: readonly End[]): Promise<void> => {
    try {
      for (const end of ends) await tellEnd(kv, end)
    } catch (err) {
      log.warn({ err }, 'an end was not told')
    }
  }
  const catchUp = async (): Promise<void> => {
    try {
      await tell((await recentEnds(db)).map((end) => ({ ...end, version: Number(end.version) })))
    } catch (err) {
      log.warn({ err }, 'ends of the last minutes were not told')
    }
  }
  let listened = false
  const listening = await db.listen(
    CHANNEL,
    (payload) => {
      const end = End.safeParse(JSON.parse(payload))
      if (end.success) void tell([end.data])
    },
    () => {
      if (listened) void catchUp()
      listened = true
    },
  )
  return () => listening.unlisten()
}
