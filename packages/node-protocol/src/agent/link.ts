import { PROTOCOL_VERSION, type NodeConfig, type ServerMessage } from '../messages.ts'
import { takeChanges, takeSnapshot } from './desired.ts'
import { forgetSent, takeCounted } from './report.ts'
import { warn } from './turn.ts'
import type { LinkState, Turn } from './types.ts'

const BACKOFF_FIRST_MS = 500
const BACKOFF_MAX_MS = 30_000
const BACKOFF_MIN_MS = 50
/** A link that stood this long was a good one: the next loss starts the back-off anew. */
const GOOD_AFTER_MS = 10_000
/** From the open socket to the welcome. */
const WELCOME_MS = 10_000
/** The other end does not speak as agreed (our own range of close codes). */
const CLOSE_PROTOCOL = 4400
const EXIT_REFUSED = 3

/** Opens the first link. */
export function dialFirst(turn: Turn): void {
  if (turn.state.link.phase === 'none') dial(turn, 0, 0)
}

/** The socket is gone: back off with full jitter, then dial again. */
export function linkClosed(turn: Turn, random: number): void {
  const { state, now } = turn
  const { link } = state
  if (state.phase === 'dismissed' || link.phase === 'none') return
  const good = link.phase === 'welcomed' && now.mono - link.since >= GOOD_AFTER_MS
  const attempts = good ? 0 : link.attempts + 1
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempts, 10))
  dial(turn, Math.max(BACKOFF_MIN_MS, Math.floor(random * ceiling)), attempts)
}

function dial(turn: Turn, afterMs: number, attempts: number): void {
  const { state, now } = turn
  forgetSent(state)
  state.link = { ...freshLink(state.link.id + 1), phase: 'dialling', since: now.mono + afterMs, attempts }
  turn.effects.push({ type: 'dial', link: state.link.id, after_ms: afterMs })
}

export function freshLink(id: number): LinkState {
  return {
    id,
    phase: 'none',
    since: 0,
    attempts: 0,
    installation: null,
    synced: false,
    resync: { wanted: null, lastAt: -Infinity },
    snapshot: null,
    watch: new Set(),
    exits: null,
    seq: 0,
    uncounted: new Map(),
    reportedAllAt: null,
  }
}

export function linkOpened(turn: Turn): void {
  if (turn.state.link.phase === 'dialling') enter(turn, 'open')
}

/** The socket stays silent between opening and welcome: give it up. */
export function checkWelcome(turn: Turn): void {
  const { link } = turn.state
  if (!['open', 'signing', 'authenticating'].includes(link.phase)) return
  if (turn.now.mono - link.since >= WELCOME_MS) hangUp(turn, 'no welcome')
}

export function signed(turn: Turn, signature: string): void {
  const { state } = turn
  if (state.link.phase !== 'signing') return
  const { node_id, ...agent } = state.self
  const known = state.complete && state.installation !== null && state.installation === state.link.installation
  const resume = known ? { installation: state.installation ?? '', revision: String(state.confirmed) } : null
  turn.messages.push({ type: 'auth', version: PROTOCOL_VERSION, node_id, signature, resume, agent })
  enter(turn, 'authenticating')
}

/** Takes a message of the present link. What does not fit the moment changes nothing. */
export function takeMessage(turn: Turn, message: ServerMessage): void {
  const { link } = turn.state
  if (message.type === 'dismissed') return dismiss(turn, message.reason)
  if (message.type === 'challenge') return challenged(turn, message)
  if (message.type === 'welcome') return welcomed(turn, message)
  if (link.phase !== 'welcomed') return warn(turn, 'unexpected', `${message.type} before the welcome`)
  switch (message.type) {
    case 'snapshot':
      return takeSnapshot(turn, message)
    case 'changes':
      return takeChanges(turn, message)
    case 'config':
      return takeConfig(turn, message.config)
    case 'watch':
      link.watch = new Set(message.slots)
      return
    case 'counted':
      return takeCounted(turn, message.seq)
    case 'rotate_key':
      turn.effects.push({ type: 'rotate_key' })
  }
}

function challenged(turn: Turn, message: Extract<ServerMessage, { type: 'challenge' }>): void {
  const { link } = turn.state
  if (link.phase !== 'open') return warn(turn, 'unexpected', 'challenge')
  if (!message.versions.includes(PROTOCOL_VERSION)) return hangUp(turn, 'no common protocol version')
  link.installation = message.installation
  enter(turn, 'signing')
  turn.effects.push({ type: 'sign', link: link.id, installation: message.installation, nonce: message.nonce })
}

function welcomed(turn: Turn, message: Extract<ServerMessage, { type: 'welcome' }>): void {
  const { state } = turn
  if (state.link.phase !== 'authenticating') return warn(turn, 'unexpected', 'welcome')
  if (message.installation !== state.link.installation) return hangUp(turn, 'another installation than challenged')
  enter(turn, 'welcomed')
  if (message.installation !== state.installation) warn(turn, 'installation_changed', 'waiting for its snapshot')
  takeConfig(turn, message.config)
}

function takeConfig(turn: Turn, config: NodeConfig): void {
  if (JSON.stringify(config) === JSON.stringify(turn.state.config)) return
  turn.state.config = config
  turn.dirtyConfig = true
  turn.effects.push({ type: 'configure', config })
}

function dismiss(turn: Turn, reason: string): void {
  turn.state.phase = 'dismissed'
  turn.effects.push({ type: 'close', link: turn.state.link.id, code: 1000, reason: 'dismissed' })
  turn.effects.push({ type: 'exit', code: EXIT_REFUSED, reason })
}

function hangUp(turn: Turn, reason: string): void {
  const { link } = turn.state
  warn(turn, 'link_given_up', reason)
  // Told once; the answer is `link_closed`.
  enter(turn, 'closing')
  turn.effects.push({ type: 'close', link: link.id, code: CLOSE_PROTOCOL, reason })
}

function enter(turn: Turn, phase: LinkState['phase']): void {
  turn.state.link.phase = phase
  turn.state.link.since = turn.now.mono
}
