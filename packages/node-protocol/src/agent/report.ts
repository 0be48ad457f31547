import type { Counters } from '../messages.ts'
import { countersOf } from './counting.ts'
import type { AgentState, Slot, Turn } from './types.ts'

/** Slots nobody watches are reported this often, if they changed. A reading comes every 15 s, give or take. */
const REPORT_ALL_MS = 14_500

/** Reports what changed: watched slots each time, all slots every 15 s and at once on a new link. */
export function report(turn: Turn): void {
  const { state, now } = turn
  const { link } = state
  if (link.phase !== 'welcomed') return
  const all = link.reportedAllAt === null || now.mono - link.reportedAllAt >= REPORT_ALL_MS
  if (all) link.reportedAllAt = now.mono
  const seq = link.seq + 1
  // What is owed comes first: an older epoch counts nothing once a newer one was seen.
  const peers = owedNow(state, seq)
  for (const slot of all ? state.slots.values() : watchedSlots(state)) {
    const counters = news(slot)
    if (!counters) continue
    slot.sent = counters
    link.uncounted.set(slot.slot, seq)
    peers.push(counters)
  }
  if (peers.length === 0) return
  link.seq = seq
  turn.messages.push({ type: 'report', seq, at: Math.max(0, Math.floor(now.wall)), peers })
}

/** The server holds the reports of this link up to `seq`: they need not be repeated on the next one. */
export function takeCounted(turn: Turn, seq: number): void {
  const { state } = turn
  for (const [slot, sentIn] of state.link.uncounted) if (sentIn <= seq) state.link.uncounted.delete(slot)
  state.owed = state.owed.filter(({ sent }) => sent === null || sent > seq)
}

/** The link is lost: what was not counted is told again on the next. */
export function forgetSent(state: AgentState): void {
  for (const number of state.link.uncounted.keys()) {
    const slot = state.slots.get(number)
    if (slot) slot.sent = null
  }
  for (const owed of state.owed) owed.sent = null
}

function owedNow(state: AgentState, seq: number): Counters[] {
  const unsent = state.owed.filter(({ sent }) => sent === null)
  for (const owed of unsent) owed.sent = seq
  return unsent.map(({ counters }) => counters)
}

function* watchedSlots(state: AgentState): Iterable<Slot> {
  for (const number of state.link.watch) {
    const slot = state.slots.get(number)
    if (slot) yield slot
  }
}

function news({ slot, peer, counting, sent }: Slot): Counters | null {
  const counters = peer && counting && countersOf(slot, counting, null)
  if (!counters || (sent && isSame(sent, counters))) return null
  return counters
}

function isSame(a: Counters, b: Counters): boolean {
  return (
    a.rx === b.rx &&
    a.tx === b.tx &&
    a.epoch === b.epoch &&
    a.version === b.version &&
    a.handshake_at === b.handshake_at
  )
}
