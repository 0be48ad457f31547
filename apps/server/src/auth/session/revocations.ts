import { z } from 'zod'
import type { Kv } from '../../platform/kv/index.ts'
import type { Log } from '../../platform/log.ts'
import type { Revocation } from '../types.ts'

const CHANNEL = 'session-revoked'
const Message = z.object({ userId: z.string(), sessionId: z.string().nullable() })

export type Revocations = {
  /** Tells every instance; call it after the commit. Never throws: each request looks at the database anyway. */
  announce(revocation: Revocation): Promise<void>
  listen(listener: (revocation: Revocation) => void): () => void
  close(): void
}

/** Carries ended sessions to the sockets that hang on them, on every instance. */
export async function createRevocations(kv: Kv, log: Log): Promise<Revocations> {
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

  return {
    async announce(revocation) {
      try {
        await kv.publish(CHANNEL, JSON.stringify(revocation))
      } catch (err) {
        log.warn({ err }, 'an ended session could not be told to other instances')
        tell(revocation)
      }
    },
    listen(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    close() {
      listeners.clear()
      end()
    },
  }
}
