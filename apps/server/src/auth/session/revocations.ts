import { z } from 'zod'
import type { Sql, Tx } from '../../platform/db/index.ts'
import type { Kv } from '../../platform/kv/index.ts'
import type { Log } from '../../platform/log.ts'
import type { Revocation } from '../types.ts'

const CHANNEL = 'session-revoked'
const DATABASE_CHANNEL = 'session_revoked'
const Message = z.object({ userId: z.string(), sessionId: z.string().nullable() })

export type Revocations = {
  /** Tells every instance; call it after the commit. Never throws: each request looks at the database anyway. */
  announce(revocation: Revocation): Promise<void>
  /** Tells with the commit of `tx`, through the database: for a command, whose store may be its own process alone. */
  announceWith(tx: Tx, revocation: Revocation): Promise<void>
  listen(listener: (revocation: Revocation) => void): () => void
  close(): void
}

/** Carries ended sessions to the sockets that hang on them, on every instance. */
export async function createRevocations(db: Sql, kv: Kv, log: Log): Promise<Revocations> {
  const listeners = new Set<(revocation: Revocation) => void>()

  const tell = (revocation: Revocation) => {
    for (const listener of listeners) {
      try {
        listener(revocation)
      } catch (err) {
        log.error({ err }, 'a listener of ended sessions failed')
      }
    }
  }
  const hear = (text: string) => {
    try {
      tell(Message.parse(JSON.parse(text)))
    } catch (err) {
      log.warn({ err }, 'unreadable message about an ended session')
    }
  }
  const end = await kv.subscribe(CHANNEL, hear)
  // Without a session of its own (some poolers) this hears nothing; sockets look their session up every two minutes.
  const listening = await db.listen(DATABASE_CHANNEL, hear).catch((err: unknown) => {
    log.warn({ err }, 'listening for ended sessions')
  })

  return {
    async announce(revocation) {
      try {
        await kv.publish(CHANNEL, JSON.stringify(revocation))
      } catch (err) {
        log.warn({ err }, 'an ended session could not be told to other instances')
        tell(revocation)
      }
    },
    async announceWith(tx, revocation) {
      await tx`select pg_notify(${DATABASE_CHANNEL}, ${JSON.stringify(revocation)})`
    },
    listen(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    close() {
      listeners.clear()
      end()
      // The pool may be ending, and this with it.
      listening?.unlisten().catch(() => undefined)
    },
  }
}
