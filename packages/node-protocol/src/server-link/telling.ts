import type { SlotChange } from '../messages.ts'
import { close, type LinkTurn } from './state.ts'
import { CLOSE, type LinkEvent } from './types.ts'

type Rows = Extract<LinkEvent, { type: 'rows' }>

/** Starts the next read when one is wanted, none is under way and the socket takes more. */
export function readNext(turn: LinkTurn): void {
  const { link, now, effects } = turn
  const { wanted, options } = link
  if (link.phase !== 'linked' || link.reading || now < link.retryAt || link.buffered > options.maxBuffered) return
  const full = wanted.full && now - link.lastFullAt >= options.snapshotEveryMs
  if (!full && !wanted.fresh && !wanted.safety) return
  // A snapshot that has to wait comes before changes the node would refuse.
  if (wanted.full && !full) return
  const since = full ? null : wanted.safety ? link.acked : link.horizon
  link.wanted = { full: false, fresh: false, safety: false }
  if (full) link.lastFullAt = now
  const safety = since === null || since === link.acked
  if (safety) link.lastSafetyAt = now
  link.reading = { since, safety, at: now }
  effects.push({ type: 'read', since: since === null ? null : String(since) })
}

/** A read failed: nothing was told, so the same is wanted again, a second later. */
export function readFailed(turn: LinkTurn): void {
  const { link, now } = turn
  if (!link.reading) return
  if (link.reading.since === null) {
    link.wanted.full = true
    link.lastFullAt = -Infinity
  } else link.wanted.safety = true
  link.reading = undefined
  link.retryAt = now + 1000
}

/** Takes what was read and tells what the node does not know yet. */
export function takeRows(turn: LinkTurn, event: Rows): void {
  const { link } = turn
  const { reading } = link
  if (link.phase !== 'linked' || !reading) return
  link.reading = undefined
  const horizon = BigInt(event.horizon)
  if (reading.since === null) return tellSnapshot(turn, event.rows, horizon)
  if (horizon < reading.since) {
    // The node knows more than this database: a restored one must call itself another installation.
    turn.effects.push({ type: 'warn', code: 'history_behind', detail: `${horizon} after ${reading.since}` })
    return close(turn, CLOSE.protocol, 'revision from the future')
  }
  tellChanges(turn, event.rows, horizon, reading.safety)
}

function tellSnapshot(turn: LinkTurn, rows: readonly SlotChange[], horizon: bigint): void {
  const { link, now, effects } = turn
  const peers: { slot: number; version: number; peer: NonNullable<SlotChange['peer']> }[] = []
  const empty: { slot: number; version: number }[] = []
  link.outstanding.clear()
  link.versions.clear()
  for (const { slot, version, peer } of rows) {
    link.versions.set(slot, version)
    if (!peer) {
      empty.push({ slot, version })
      continue
    }
    peers.push({ slot, version, peer })
    link.outstanding.set(slot, { version, revision: horizon, toldAt: now })
  }
  link.told = horizon
  link.horizon = horizon
  link.greeted = true
  link.lastProgressAt = now
  const revision = String(horizon)
  effects.push({
    type: 'send',
    message: { type: 'snapshot', revision, complete: true, count: peers.length, peers, empty },
  })
}

function tellChanges(turn: LinkTurn, rows: readonly SlotChange[], horizon: bigint, safety: boolean): void {
  const { link, now, effects } = turn
  const changes = latest(rows).filter((row) => isNews(turn, row, horizon))
  // An empty message is due as greeting, and when the node's confirmed revision fell behind.
  const behind = horizon > link.told && safety
  link.horizon = horizon > link.horizon ? horizon : link.horizon
  if (changes.length === 0 && link.greeted && !behind) return
  if (link.outstanding.size === 0) link.lastProgressAt = now
  const since = String(link.told)
  if (horizon > link.told) link.told = horizon
  for (const { slot, version } of changes) {
    link.versions.set(slot, version)
    link.outstanding.set(slot, { version, revision: link.told, toldAt: now })
  }
  link.greeted = true
  effects.push({ type: 'send', message: { type: 'changes', since, revision: String(link.told), changes } })
}

/** The latest row of each slot. */
function latest(rows: readonly SlotChange[]): SlotChange[] {
  const bySlot = new Map<number, SlotChange>()
  for (const row of rows) if (row.version >= (bySlot.get(row.slot)?.version ?? 0)) bySlot.set(row.slot, row)
  return [...bySlot.values()]
}

/**
 * Not told on this link, or told and not acknowledged: for too long, or below an earlier horizon than this message
 * claims to cover (a change seen before its horizon came).
 */
function isNews({ link, now }: LinkTurn, { slot, version }: SlotChange, horizon: bigint): boolean {
  const told = link.versions.get(slot)
  if (told === undefined || version > told) return true
  if (version < told) return false
  const waiting = link.outstanding.get(slot)
  if (!waiting) return false
  return now - waiting.toldAt >= link.options.resendMs || horizon > waiting.revision
}
