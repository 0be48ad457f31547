import { Bucket } from './limiter/bucket.ts'
import type { Limit, Now } from './limiter/limiter.ts'

/** Messages a client may send on one socket: pings, renewals, questions. */
const MESSAGES: Limit = { limit: 60, burst: 20, windowMs: 60_000 }

/**
 * Counts the messages of one socket by the same rules as requests; in memory, since a socket lives on one instance.
 * @returns call it for each message: false when it is one too many, and the socket should be closed with 4429 or 1008
 */
export function messageBudget(limit: Limit = MESSAGES, now: Now = () => Math.floor(performance.now())): () => boolean {
  const bucket = new Bucket()
  return () => {
    const at = now()
    bucket.advance(at, limit.windowMs)
    if (!bucket.admits(at, limit)) return false
    bucket.charge(at, limit)
    return true
  }
}
