import { warn } from './turn.ts'
import type { Turn } from './types.ts'

/** Without a welcome for so long after the start, what the disk says is used. */
const NO_WELCOME_MS = 10_000
/** A server that welcomes and then says nothing does not keep the tunnels down longer than this. */
const NO_STATE_MS = 30_000

/**
 * Falls back on the journal. Only when the server is not there: a data folder restored from a backup would otherwise
 * let in again who was taken away since. Peers the kernel still holds need no fallback, they were never touched.
 */
export function fallBack(turn: Turn): void {
  const { state, now } = turn
  if (state.trust !== 'none' || !state.complete || !state.kernel.known) return
  const waited = now.mono - state.startedAt
  if (waited < NO_WELCOME_MS || (state.link.phase === 'welcomed' && waited < NO_STATE_MS)) return
  state.trust = 'cache'
  state.kernel.compareAt = now.mono
  warn(turn, 'from_cache', 'no server since the start; using the state on disk')
}
