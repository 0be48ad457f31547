import { setTimeout as sleep } from 'node:timers/promises'
import { NotFound, invalidField } from '../platform/errors.ts'
import { sameAddress } from './address.ts'
import type { TunnelDeps } from './deps.ts'
import { endTunnels, type EndReason } from './end.ts'
import { averageSpeed, durationText, speedText } from './format.ts'
import type { ClientCounts, DisconnectAnswer } from './schemas.ts'
import {
  activeConnections,
  addressesOf,
  clearingOf,
  keepClientCounts,
  lastEnded,
  ownConnection,
  markFinal,
  supersededBy,
  type Connection,
} from './store.ts'
import { releaseLeaving } from './upkeep-store.ts'

/** The node has so long to tell its last counters. */
const FINAL_WAIT_MS = 3_000
/** The peer that carries the answer stays so long after it. */
const LINGER_MS = 500

/** Names the tunnel that is meant. @throws {NotFound} @throws 400 when several are active and none is named */
async function meant({ db }: TunnelDeps, userId: string, id: string | undefined): Promise<Connection> {
  if (id !== undefined) {
    const found = await ownConnection(db, userId, id)
    if (!found) throw new NotFound('The connection')
    return found
  }
  const [only, second] = await activeConnections(db, userId)
  if (second) throw invalidField('connection_id', 'is needed: several connections are active')
  const found = only ?? (await lastEnded(db, userId))
  if (!found) throw new NotFound('The connection')
  return found
}

/** True when the call comes out of the very server that carries the tunnel: its answer must get back through it. */
async function comesThrough({ db }: TunnelDeps, serverId: string | null, from: string): Promise<boolean> {
  if (serverId === null) return false
  return (await addressesOf(db, serverId)).some((address) => sameAddress(address, from))
}

/** Waits until the node's last counters are stored, if they are still to come. */
async function waitForFinal(deps: TunnelDeps, id: string): Promise<void> {
  const { db, nodeLink } = deps
  const at = await clearingOf(db, id)
  if (!at) return
  const gone = await nodeLink.gone(at.server_id, at.slot, Number(at.version), FINAL_WAIT_MS)
  if (gone !== 'timeout') await markFinal(db, id)
}

/** Frees the peer half a second later. Should this process die before, the next turn of any instance's upkeep does it. */
async function releaseLater({ db, log, nodeLink }: TunnelDeps, serverId: string | null): Promise<void> {
  try {
    await sleep(LINGER_MS)
    await releaseLeaving(db)
    if (serverId !== null) nodeLink.wake(serverId)
  } catch (err) {
    log.warn({ err }, 'a peer is released by the next upkeep')
  }
}

function answer(c: Connection): DisconnectAnswer {
  const ended_at = c.ended_at ?? c.started_at
  const seconds = Math.max(0, Math.floor((ended_at.getTime() - c.started_at.getTime()) / 1000))
  const total = c.bytes_sent + c.bytes_received
  return {
    connection_id: c.id,
    status: 'ended',
    started_at: c.started_at,
    ended_at,
    duration: durationText(seconds),
    duration_seconds: seconds,
    bytes_sent: c.bytes_sent,
    bytes_received: c.bytes_received,
    total_bytes: total,
    totals_final: c.totals_final,
    summary: {
      avg_speed: averageSpeed(total, seconds),
      // A tunnel that ended before its second report has no peak of its own: it was at least as fast as on average.
      peak_speed: speedText(Math.max(Number(c.peak_bytes_per_second), seconds > 0 ? Number(total) / seconds : 0)),
    },
  }
}

async function keepCounts({ db }: TunnelDeps, id: string, counts: ClientCounts): Promise<void> {
  const { bytes_sent: sent, bytes_received: received } = counts
  if (sent === undefined && received === undefined) return
  await keepClientCounts(
    db,
    id,
    sent === undefined ? null : BigInt(sent),
    received === undefined ? null : BigInt(received),
  )
}

/**
 * Ends a tunnel and those it was moved from, and answers with the totals. Repeating it answers the same, but for totals
 * that were not final then.
 * @param from the caller's address, compared with the server's own and forgotten
 * @throws {NotFound} no such connection of this user, or none at all
 */
export async function disconnect(
  deps: TunnelDeps,
  userId: string,
  id: string | undefined,
  counts: ClientCounts,
  from: string,
  reason: EndReason = 'user',
): Promise<DisconnectAnswer> {
  const { db, nodeLink } = deps
  const target = await meant(deps, userId, id)
  if (target.status === 'connected') {
    const linger = (await comesThrough(deps, target.server_id, from)) ? LINGER_MS : 0
    const ended = await endTunnels(db, [target.id, ...(await supersededBy(db, userId, target.id))], reason, linger)
    for (const { server_id } of ended) if (server_id !== null) nodeLink.wake(server_id)
    if (linger > 0) void releaseLater(deps, target.server_id)
    else await waitForFinal(deps, target.id)
  } else if (!target.totals_final) {
    await waitForFinal(deps, target.id)
  }
  await keepCounts(deps, target.id, counts)
  const now = await ownConnection(db, userId, target.id)
  if (!now) throw new NotFound('The connection')
  return answer(now)
}
