import { compare, reopen } from './compare.ts'
import { renew, restartCounting, settleReset } from './counting.ts'
import { report } from './report.ts'
import { mayWrite } from './slots.ts'
import { queueOp } from './turn.ts'
import type { KernelPeer, Slot, Turn } from './types.ts'

/** Without anybody watching the kernel is read this often. */
const READ_EVERY_MS = 15_000
/** While somebody watches. A tick comes once a second, give or take. */
const READ_WATCHED_MS = 950
/** A session key is rejected 180 s after its handshake (WireGuard whitepaper 6.1); the kernel's time is in whole seconds. */
const FORGET_AFTER_MS = 181_000

/** Takes what the kernel holds: notices a new interface, compares when due, reads counters, forgets idle endpoints. */
export function takeDump(turn: Turn, interfaceId: string, peers: readonly KernelPeer[]): void {
  const { state, now } = turn
  const { kernel } = state
  const dump = new Map(peers.map((peer) => [peer.public_key, peer]))
  const readBefore = kernel.known ? kernel.readAt : null
  kernel.reading = false
  kernel.known = true
  kernel.readAt = now.mono
  noticeInterface(turn, interfaceId)
  findStrangers(turn, dump)
  if (now.mono >= kernel.compareAt) compare(turn, dump)
  readCounters(turn, dump, readBefore)
  forgetEndpoints(turn)
  report(turn)
}

/** Asks for a reading when one is due and none is under way. */
export function scheduleReading(turn: Turn): void {
  const { state, now } = turn
  const { kernel, link } = state
  if (state.phase !== 'running' || kernel.reading) return
  const age = now.mono - kernel.askedAt
  const watched = link.phase === 'welcomed' && link.watch.size > 0 && age >= READ_WATCHED_MS
  const forget = now.mono >= kernel.resetAt && mayWrite(state)
  if (!watched && !forget && age < READ_EVERY_MS && now.mono < kernel.compareAt) return
  kernel.reading = true
  kernel.askedAt = now.mono
  turn.effects.push({ type: 'read_kernel' })
}

/** The kernel could not be read: try again a little later. */
export function readingFailed(turn: Turn): void {
  const { kernel } = turn.state
  kernel.reading = false
  kernel.compareAt = Math.min(kernel.compareAt, turn.now.mono + 1000)
  if (kernel.compareAt <= turn.now.mono) kernel.compareAt = turn.now.mono + 1000
}

/** Another life of the interface: every peer begins to be counted anew, nothing is confirmed. */
export function noticeInterface(turn: Turn, interfaceId: string): void {
  const { state } = turn
  const before = state.kernel.interfaceId
  if (before === interfaceId) return
  state.kernel.interfaceId = interfaceId
  state.kernel.compareAt = Math.min(state.kernel.compareAt, turn.now.mono)
  turn.dirtyMeta = true
  if (before === null) return
  turn.compact = true
  for (const slot of state.slots.values()) {
    restartCounting(turn, slot)
    for (const leaving of slot.leaving) leaving.counting = renew(turn, slot, leaving.counting)
    reopen(turn, slot)
  }
}

function findStrangers(turn: Turn, dump: ReadonlyMap<string, KernelPeer>): void {
  const { kernel, claims, slots } = turn.state
  kernel.foreign.clear()
  const leaving = new Set<string>()
  for (const slot of slots.values()) {
    for (const { public_key, counting } of slot.leaving) if (!counting.takeover) leaving.add(public_key)
  }
  for (const [key, peer] of dump) {
    const owner = claims.get(`k:${key}`)
    const strange = owner === undefined ? !leaving.has(key) : slots.get(owner)?.counting?.takeover
    if (strange) kernel.foreign.set(key, peer)
  }
}

/** Reads the counters of the slots the kernel is known to hold as wanted. */
function readCounters(turn: Turn, dump: ReadonlyMap<string, KernelPeer>, readBefore: number | null): void {
  const { state } = turn
  state.kernel.resetAt = Infinity
  for (const slot of state.slots.values()) {
    if (!slot.peer || !slot.counting || state.kernel.busySlots.has(slot.slot)) continue
    if (state.unconfirmed.has(slot.slot)) continue
    const peer = dump.get(slot.peer.public_key)
    if (!peer) {
      state.kernel.compareAt = turn.now.mono
      continue
    }
    if (slot.counting.resetting) {
      settleReset(slot.counting, peer)
      turn.dirtySlots.add(slot.slot)
    }
    const { raw } = slot.counting
    if (raw && (peer.rx < raw.rx || peer.tx < raw.tx)) restartCounting(turn, slot)
    slot.counting.raw = { rx: peer.rx, tx: peer.tx, handshake_at: peer.handshake_at }
    slot.counting.handshake_at = Math.max(slot.counting.handshake_at, peer.handshake_at)
    noteHandshake(turn, slot, peer.handshake_at, raw === null ? null : readBefore)
  }
}

/**
 * Keeps the age of the latest handshake by the monotonic clock, so that a step of the wall clock resets nobody. A
 * handshake first seen now happened after the reading before, if that one saw the peer.
 */
function noteHandshake(turn: Turn, slot: Slot, handshakeAt: number, readBefore: number | null): void {
  const { now, state } = turn
  if (handshakeAt === 0) slot.idleSince = null
  else if (slot.idleSince?.handshake_at !== handshakeAt) {
    const oldest = readBefore === null ? Infinity : now.mono - readBefore
    const age = Math.min(Math.max(0, now.wall - handshakeAt * 1000), oldest)
    slot.idleSince = { handshake_at: handshakeAt, mono: now.mono - age }
  }
  if (slot.idleSince) state.kernel.resetAt = Math.min(state.kernel.resetAt, slot.idleSince.mono + FORGET_AFTER_MS)
}

/** Lets the kernel forget where customers were: removes and adds those whose session can no longer be used. */
function forgetEndpoints(turn: Turn): void {
  const { state, now } = turn
  if (!mayWrite(state) || now.mono < state.kernel.resetAt) return
  state.kernel.resetAt = Infinity
  for (const slot of state.slots.values()) {
    const { idleSince, peer, counting } = slot
    if (!idleSince || !peer || !counting?.raw || state.kernel.busySlots.has(slot.slot)) continue
    const at = idleSince.mono + FORGET_AFTER_MS
    if (now.mono < at) {
      state.kernel.resetAt = Math.min(state.kernel.resetAt, at)
      continue
    }
    counting.resetting = counting.raw
    turn.dirtySlots.add(slot.slot)
    queueOp(turn, { op: 'reset', slot: slot.slot, version: slot.version, peer })
  }
}
