import { fallBack } from './agent/fallback.ts'
import { type JournalEntry, restore } from './agent/journal.ts'
import { takeResults } from './agent/kernel.ts'
import { checkWelcome, dialFirst, freshLink, linkClosed, linkOpened, signed, takeMessage } from './agent/link.ts'
import { noticeInterface, readingFailed, scheduleReading, takeDump } from './agent/reading.ts'
import { sendResync } from './agent/resync.ts'
import { beginTurn, endTurn, warn } from './agent/turn.ts'
import type { AgentEffect, AgentEvent, AgentSelf, AgentState, Instant, Turn } from './agent/types.ts'

export { firstEntries, JournalEntry, readJournal } from './agent/journal.ts'
export type {
  AgentEffect,
  AgentEvent,
  AgentSelf,
  AgentState,
  Instant,
  KernelCounters,
  KernelOp,
  KernelPeer,
  KernelResult,
} from './agent/types.ts'

/**
 * An agent before its `start`.
 * @param entries what `readJournal` found, or `firstEntries` right after enrolment
 */
export function createAgent(self: AgentSelf, entries: readonly JournalEntry[]): AgentState {
  const state: AgentState = {
    self: { ...self },
    phase: 'new',
    startedAt: 0,
    trust: 'none',
    installation: null,
    config: null,
    complete: false,
    told: 0n,
    confirmed: 0n,
    slots: new Map(),
    claims: new Map(),
    unconfirmed: new Set(),
    lastEpoch: 0,
    owed: [],
    journalLines: 0,
    kernel: {
      interfaceId: null,
      known: false,
      reading: false,
      askedAt: -Infinity,
      readAt: -Infinity,
      compareAt: -Infinity,
      nextBatch: 1,
      batches: new Map(),
      busySlots: new Map(),
      busyKeys: new Map(),
      foreign: new Map(),
      resetAt: Infinity,
    },
    link: freshLink(0),
  }
  restore(state, entries)
  return state
}

/**
 * One step of an agent: no clock, socket, file or chance in here. Deterministic; the state is taken over and changed
 * (ten thousand peers are not copied for one), so keep only the one that comes back.
 */
export function agentStep(
  state: AgentState,
  event: AgentEvent,
  now: Instant,
): { state: AgentState; effects: readonly AgentEffect[] } {
  if (state.phase === 'dismissed') return { state, effects: [] }
  const turn = beginTurn(state, now)
  if (!('link' in event) || event.link === state.link.id) take(turn, event)
  scheduleReading(turn)
  return { state, effects: endTurn(turn) }
}

function take(turn: Turn, event: AgentEvent): void {
  switch (event.type) {
    case 'start':
      return start(turn)
    case 'tick':
      return tick(turn)
    case 'link_opened':
      return linkOpened(turn)
    case 'link_message':
      return takeMessage(turn, event.message)
    case 'link_invalid':
      return warn(turn, 'invalid_message', event.reason)
    case 'link_closed':
      return linkClosed(turn, event.random)
    case 'signed':
      return signed(turn, event.signature)
    case 'kernel_dump':
      takeDump(turn, event.interface_id, event.peers)
      return dialFirst(turn)
    case 'kernel_unreadable':
      warn(turn, 'kernel_unreadable', event.error)
      return readingFailed(turn)
    case 'kernel_done':
      noticeInterface(turn, event.interface_id)
      return takeResults(turn, event.batch, event.results)
    case 'key_rotated':
      turn.state.self.public_key = event.public_key
      return tell(turn, { type: 'new_key', public_key: event.public_key })
    case 'health':
      return tell(turn, { type: 'health', ...event.health })
    case 'exits':
      return tellExits(turn, event.addresses)
  }
}

function start(turn: Turn): void {
  const { state, now } = turn
  state.phase = 'running'
  state.startedAt = now.mono
  // A torn last line must not swallow the next one.
  turn.compact = true
  if (state.config) turn.effects.push({ type: 'configure', config: state.config })
}

function tick(turn: Turn): void {
  checkWelcome(turn)
  sendResync(turn)
  fallBack(turn)
}

/** Once on each link, and again when they change. */
function tellExits(turn: Turn, addresses: readonly string[]): void {
  const { link } = turn.state
  if (link.phase !== 'welcomed' || link.exits?.join() === addresses.join()) return
  link.exits = addresses
  tell(turn, { type: 'exits', addresses: [...addresses] })
}

function tell(turn: Turn, message: Turn['messages'][number]): void {
  if (turn.state.link.phase === 'welcomed') turn.messages.push(message)
}
