import type { NodeMessage, SlotApplied } from '../messages.ts'
import { allEntries, type JournalEntry, metaEntry, slotEntry } from './journal.ts'
import type { AgentEffect, AgentState, Instant, KernelOp, Turn } from './types.ts'

/** Operations of one kernel batch: small enough that a change told meanwhile does not wait long. */
const BATCH = 250
/** A journal longer than this, and than four lines a slot, is written anew. */
const MIN_COMPACT_LINES = 2000

export function beginTurn(state: AgentState, now: Instant): Turn {
  return {
    state,
    now,
    dirtySlots: new Set(),
    dirtyMeta: false,
    dirtyConfig: false,
    compact: false,
    newOwed: [],
    doubtfulKeys: null,
    removals: [],
    writes: [],
    applied: new Map(),
    acknowledge: false,
    messages: [],
    warnings: [],
    effects: [],
  }
}

/** Turns what the step collected into effects: write down, then the kernel, then tell, then the rest. */
export function endTurn(turn: Turn): AgentEffect[] {
  const { id } = turn.state.link
  const applied = takeAcknowledgement(turn)
  const journal = persist(turn)
  const batches = flushKernel(turn)
  const messages = applied ? [applied, ...turn.messages] : turn.messages
  const sends = messages.map((message): AgentEffect => ({ type: 'send', link: id, message }))
  return [...turn.warnings, ...journal, ...batches, ...sends, ...turn.effects]
}

export function warn(turn: Turn, code: string, detail = ''): void {
  turn.warnings.push({ type: 'warn', code, detail })
}

/** Asks for a kernel operation. From here on its slot and key are busy until the result is in. */
export function queueOp(turn: Turn, op: KernelOp): void {
  markBusy(turn.state, op, 1)
  if (op.op === 'remove' || op.op === 'purge') turn.removals.push(op)
  else turn.writes.push(op)
}

/** Counts an operation in (`by` 1) or out (-1) of flight. */
export function markBusy(state: AgentState, op: KernelOp, by: 1 | -1): void {
  const { busySlots, busyKeys } = state.kernel
  if (op.op !== 'purge') bump(busySlots, op.slot, by)
  bump(busyKeys, 'peer' in op ? op.peer.public_key : op.public_key, by)
}

/**
 * Moves the confirmed horizon up to the oldest change the kernel still owes. Not while the kernel holds a peer nobody
 * can place: it may be one that was taken away.
 */
export function advance(turn: Turn): void {
  const { state } = turn
  if (state.kernel.foreign.size > 0) return
  let horizon = state.told
  for (const number of state.unconfirmed) {
    const base = state.slots.get(number)?.base ?? horizon
    if (base < horizon) horizon = base
  }
  if (horizon <= state.confirmed) return
  state.confirmed = horizon
  turn.dirtyMeta = true
  turn.acknowledge = true
}

function takeAcknowledgement(turn: Turn): NodeMessage | null {
  const { link, confirmed } = turn.state
  if (link.phase !== 'welcomed') return null
  const complete = link.snapshot !== null && snapshotIsDone(turn.state, link.snapshot)
  if (!complete && !turn.acknowledge && turn.applied.size === 0) return null
  if (complete) link.snapshot = null
  const slots: SlotApplied[] = [...turn.applied.values()]
  if (slots.some(({ final }) => final)) markFinalsSent(turn)
  return { type: 'applied', revision: String(confirmed), complete, slots }
}

/** The server stores in order: once a later report is counted, so are the finals told before it. */
function markFinalsSent({ state, applied }: Turn): void {
  for (const owed of state.owed) {
    if (owed.sent === null && applied.get(owed.counters.slot)?.final?.epoch === owed.counters.epoch)
      owed.sent = state.link.seq + 1
  }
}

function snapshotIsDone(state: AgentState, revision: bigint): boolean {
  if (state.confirmed < revision || state.kernel.foreign.size > 0) return false
  for (const number of state.unconfirmed) if (state.slots.get(number)?.at === revision) return false
  return true
}

function persist(turn: Turn): AgentEffect[] {
  const { state } = turn
  const entries: JournalEntry[] = turn.newOwed.map((counters) => ({ kind: 'owed', counters }))
  for (const number of turn.dirtySlots) {
    const slot = state.slots.get(number)
    if (slot) entries.push(slotEntry(slot))
  }
  // After the slots: a torn journal must not claim a revision whose slots it lost.
  if (turn.dirtyMeta) entries.push(metaEntry(state))
  if (turn.dirtyConfig && state.config) entries.push({ kind: 'config', config: state.config })
  const lines = state.journalLines + entries.length
  const tooLong = lines > Math.max(MIN_COMPACT_LINES, 4 * state.slots.size)
  if (turn.compact || (tooLong && entries.length > 0)) {
    const all = allEntries(state)
    state.journalLines = all.length
    return [{ type: 'persist', compact: true, entries: all }]
  }
  state.journalLines = lines
  return entries.length > 0 ? [{ type: 'persist', compact: false, entries }] : []
}

/** Removals go before writes, so that a key or an address that moves is never with two slots. */
function flushKernel(turn: Turn): AgentEffect[] {
  const { kernel } = turn.state
  const ops = [...turn.removals, ...turn.writes]
  const effects: AgentEffect[] = []
  for (let start = 0; start < ops.length; start += BATCH) {
    const batch = kernel.nextBatch++
    const part = ops.slice(start, start + BATCH)
    kernel.batches.set(batch, part)
    effects.push({ type: 'kernel', batch, ops: part })
  }
  return effects
}

function bump<K>(map: Map<K, number>, key: K, by: number): void {
  const count = (map.get(key) ?? 0) + by
  if (count > 0) map.set(key, count)
  else map.delete(key)
}
