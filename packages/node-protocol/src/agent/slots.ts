import type { Counters, Peer } from '../messages.ts'
import { beginCounting, owe } from './counting.ts'
import { queueOp } from './turn.ts'
import type { AgentState, Slot, Turn } from './types.ts'

/** A wanted content of a slot, on its way in. */
export interface Wish {
  slot: number
  version: number
  peer: Peer | null
}

/** Where a wish comes from: the horizon of its message, and the one that holds without it. */
export interface Origin {
  revision: bigint
  base: bigint
}

/** Makes a wish the slot's content: claims, counting, and the kernel operations that lead there. */
export function settle(turn: Turn, wish: Wish, origin: Origin): void {
  const { state } = turn
  const slot = state.slots.get(wish.slot) ?? emptySlot(wish.slot)
  const write = mayWrite(state) && !isUnsure(turn, slot)
  const changed = slot.peer !== null || wish.peer !== null
  if (slot.peer && slot.peer.public_key !== wish.peer?.public_key) release(turn, slot, slot.peer, wish.version, write)
  dropClaims(state, slot)
  slot.version = wish.version
  slot.peer = wish.peer
  slot.at = origin.revision
  slot.base = origin.base
  state.slots.set(slot.slot, slot)
  state.unconfirmed.add(slot.slot)
  turn.dirtySlots.add(slot.slot)
  if (wish.peer) hold(turn, slot, wish.peer, write)
  else if (!changed) confirmIfIdle(turn, slot)
  if (changed && !write) state.kernel.compareAt = turn.now.mono
}

/**
 * After a failure or a restart nobody knows which peer the kernel holds for a slot, or whether a key is still there
 * for another. Such a slot is only written by a comparison, which looks first.
 */
function isUnsure({ state }: Turn, { slot }: Slot): boolean {
  return state.unconfirmed.has(slot) && !state.kernel.busySlots.has(slot)
}

/** Sends a slot's peer on its way out; its last counters follow when the kernel has removed it. */
function release(turn: Turn, slot: Slot, peer: Peer, version: number, write: boolean): void {
  const { public_key, allowed_ips } = peer
  if (slot.counting) slot.leaving.push({ public_key, allowed_ips, counting: slot.counting })
  slot.counting = null
  slot.idleSince = null
  slot.written = null
  slot.sent = null
  if (write) queueOp(turn, { op: 'remove', slot: slot.slot, version, public_key, allowed_ips })
  else doubtfulKeys(turn).add(public_key)
}

/** Keys the kernel may still hold for a slot that gave them up: only a comparison can tell whose they are there. */
function doubtfulKeys(turn: Turn): Set<string> {
  if (turn.doubtfulKeys) return turn.doubtfulKeys
  const keys = new Set<string>()
  const { slots, unconfirmed, kernel } = turn.state
  for (const number of unconfirmed) {
    for (const { public_key } of slots.get(number)?.leaving ?? []) {
      if (!kernel.busyKeys.has(public_key)) keys.add(public_key)
    }
  }
  turn.doubtfulKeys = keys
  return keys
}

function hold(turn: Turn, slot: Slot, peer: Peer, write: boolean): void {
  const { state } = turn
  for (const claim of claimsOf(peer)) state.claims.set(claim, slot.slot)
  const fresh = !slot.counting
  if (slot.counting) slot.counting.version = slot.version
  else {
    slot.final = null
    slot.counting = beginCounting(turn, peer.public_key, slot.version)
  }
  if (slot.counting.takeover || doubtfulKeys(turn).has(peer.public_key)) state.kernel.compareAt = turn.now.mono
  else if (write) queueOp(turn, { op: 'set', slot: slot.slot, version: slot.version, peer, fresh })
}

/** The keys and addresses that only one slot may have. */
export function claimsOf(peer: Peer): string[] {
  return [`k:${peer.public_key}`, ...peer.allowed_ips.map((address) => `a:${address}`)]
}

function dropClaims(state: AgentState, slot: Slot): void {
  if (!slot.peer) return
  for (const claim of claimsOf(slot.peer)) if (state.claims.get(claim) === slot.slot) state.claims.delete(claim)
}

/** The kernel was read, and what is wanted has been told or nobody is there to tell it. */
export function mayWrite(state: AgentState): boolean {
  return state.kernel.known && state.trust !== 'none'
}

/** The kernel holds what the slot says: tell it. */
export function confirm(turn: Turn, slot: Slot): void {
  turn.state.unconfirmed.delete(slot.slot)
  acknowledge(turn, slot)
}

/** A slot that was empty and stays so is done, unless the kernel holds peers nobody can place. */
function confirmIfIdle(turn: Turn, slot: Slot): void {
  const { kernel, unconfirmed } = turn.state
  if (!kernel.known || kernel.foreign.size > 0 || kernel.busySlots.has(slot.slot) || slot.leaving.length > 0) return
  unconfirmed.delete(slot.slot)
}

export function acknowledge(turn: Turn, slot: Slot): void {
  if (slot.version < 0) return
  const { version, final } = slot
  const held = slot.peer !== null
  turn.applied.set(slot.slot, { slot: slot.slot, version, ok: true, held, ...(final && { final }) })
}

export function refuse(turn: Turn, wish: { slot: number; version: number }, error: string): void {
  if (wish.version < 0) return
  turn.applied.set(wish.slot, {
    slot: wish.slot,
    version: wish.version,
    ok: false,
    held: false,
    error: error.slice(0, 200),
  })
}

/** Keeps the last counters of a peer that is gone: told with the acknowledgement, and owed until they are counted. */
export function setFinal(turn: Turn, slot: Slot, final: Counters | null): void {
  if (!final) return
  owe(turn, final)
  slot.final = slot.peer ? null : final
  turn.dirtySlots.add(slot.slot)
}

function emptySlot(slot: number): Slot {
  return {
    slot,
    version: -1,
    peer: null,
    at: 0n,
    counting: null,
    leaving: [],
    final: null,
    base: 0n,
    idleSince: null,
    written: null,
    sent: null,
  }
}
