import type { Counters } from '../messages.ts'
import type { Counting, KernelCounters, KernelPeer, Slot, Turn } from './types.ts'

/** Begins to count a peer that is about to be written to the kernel, under a key the kernel may know already. */
export function beginCounting(turn: Turn, publicKey: string, version: number): Counting {
  const takeover = strayOf(turn, publicKey) !== undefined
  return { ...newCounting(turn, version), takeover }
}

function newCounting(turn: Turn, version: number): Counting {
  const offset = { rx: 0n, tx: 0n }
  return { version, epoch: nextEpoch(turn), takeover: false, offset, handshake_at: 0, raw: null, resetting: null }
}

/** Takes over a peer the kernel holds. What it counted so far may have been reported before: it is left out. */
export function takeOver(turn: Turn, slot: number, counting: Counting, peer: KernelPeer): void {
  counting.takeover = false
  counting.offset = { rx: -peer.rx, tx: -peer.tx }
  turn.dirtySlots.add(slot)
}

/** The peer with this key that the kernel holds for nobody, unless it is on its way out. */
function strayOf(turn: Turn, publicKey: string): KernelPeer | undefined {
  const { busyKeys, foreign } = turn.state.kernel
  return busyKeys.has(publicKey) ? undefined : foreign.get(publicKey)
}

/** The wall clock, but never the same or an earlier moment twice: clocks step. */
function nextEpoch(turn: Turn): number {
  const { state, now } = turn
  state.lastEpoch = Math.max(state.lastEpoch + 1, Math.floor(now.wall))
  return state.lastEpoch
}

/** What is reported for a counting; null while nothing was read. */
export function countersOf(slot: number, counting: Counting, last: KernelCounters | null): Counters | null {
  const raw = last ?? counting.raw
  if (!raw || counting.version < 0 || counting.takeover) return null
  return {
    slot,
    version: counting.version,
    epoch: counting.epoch,
    rx: String(atLeastZero(raw.rx + counting.offset.rx)),
    tx: String(atLeastZero(raw.tx + counting.offset.tx)),
    handshake_at: raw.handshake_at || counting.handshake_at,
  }
}

/**
 * The kernel began anew for this peer (interface recreated, peer gone and to be added again). What was read before is
 * owed to the server, in the old epoch and before anything of the new one.
 */
export function restartCounting(turn: Turn, slot: Slot): void {
  if (!slot.counting) return
  slot.counting = renew(turn, slot, slot.counting)
  slot.idleSince = null
  slot.sent = null
}

/** As `restartCounting`, for a peer that is on its way out. */
export function renew(turn: Turn, slot: Slot, counting: Counting): Counting {
  const last = countersOf(slot.slot, counting, counting.resetting)
  if (last) owe(turn, last)
  turn.dirtySlots.add(slot.slot)
  return { ...newCounting(turn, counting.version), handshake_at: last?.handshake_at ?? counting.handshake_at }
}

/** The kernel forgot the peer's endpoint and counts from zero; the epoch goes on, with what it had as offset. */
export function carryOver(turn: Turn, slot: Slot, counting: Counting, last: KernelCounters | null): void {
  const before = last ?? counting.resetting
  if (before) {
    counting.offset = { rx: counting.offset.rx + before.rx, tx: counting.offset.tx + before.tx }
    counting.handshake_at = before.handshake_at || counting.handshake_at
  }
  counting.raw = { rx: 0n, tx: 0n, handshake_at: 0 }
  counting.resetting = null
  slot.idleSince = null
  turn.dirtySlots.add(slot.slot)
}

/**
 * Finds out whether a begun reset of which no result came (the agent died, the write failed) was done. A peer that was
 * reset shows another handshake and less than before. When both are possible nothing is added: never counted twice.
 */
export function settleReset(counting: Counting, current: KernelCounters): void {
  const { resetting: before } = counting
  if (!before) return
  const grown = current.rx >= before.rx && current.tx >= before.tx && current.handshake_at > before.handshake_at
  if (!grown && current.handshake_at !== before.handshake_at) {
    counting.offset = { rx: counting.offset.rx + before.rx, tx: counting.offset.tx + before.tx }
    counting.handshake_at = Math.max(counting.handshake_at, before.handshake_at)
    counting.raw = null
  }
  counting.resetting = null
}

/** Keeps counters to be reported until the server has counted them. */
export function owe(turn: Turn, counters: Counters): void {
  turn.state.owed.push({ counters, sent: null })
  turn.newOwed.push(counters)
}

const atLeastZero = (count: bigint) => (count < 0n ? 0n : count)
