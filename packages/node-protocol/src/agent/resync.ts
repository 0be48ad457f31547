import { warn } from './turn.ts'
import type { Turn } from './types.ts'

/** A node that cannot use what it gets does not ask more often than this. */
const RESYNC_EVERY_MS = 5000

/** Refuses what was sent and asks for a snapshot, now or when it may ask again. */
export function askForSnapshot(turn: Turn, reason: string): void {
  turn.state.link.resync.wanted = reason
  warn(turn, 'refused', reason)
  sendResync(turn)
}

/** Sends a request for a snapshot that had to wait. */
export function sendResync(turn: Turn): void {
  const { link } = turn.state
  const { wanted, lastAt } = link.resync
  if (wanted === null || link.phase !== 'welcomed' || turn.now.mono - lastAt < RESYNC_EVERY_MS) return
  link.resync = { wanted: null, lastAt: turn.now.mono }
  turn.messages.push({ type: 'resync', reason: wanted })
}
