import { setTimeout as sleep } from 'node:timers/promises'
import { stopPostmaster, type Postmaster } from './cluster.ts'
import type { Log } from './prepare.ts'

/** Milliseconds between attempts to start a server that does not come up again. */
const PAUSE_MS = 1_000

/**
 * Starts the server and starts it again whenever it ends without having been asked to.
 * @param start called for each attempt; the first one's error is the caller's
 */
export async function supervise(start: () => Promise<Postmaster>, log: Log): Promise<{ stop(): Promise<void> }> {
  const stopping = new AbortController()
  let current = await start()
  const watching = watch()

  async function watch(): Promise<void> {
    while (!stopping.signal.aborted) {
      const code = await current.exited
      if (stopping.signal.aborted) return
      log.error({ code }, 'embedded PostgreSQL ended by itself, starting it again')
      const next = await startAgain()
      if (next) current = next
    }
    await stopPostmaster(current) // asked to stop while it was coming up again
  }

  async function startAgain(): Promise<Postmaster | undefined> {
    while (!stopping.signal.aborted) {
      try {
        return await start()
      } catch (error) {
        log.error({ err: error }, 'embedded PostgreSQL does not start')
        await sleep(PAUSE_MS, undefined, { signal: stopping.signal }).catch(() => undefined)
      }
    }
    return undefined
  }

  return {
    async stop() {
      stopping.abort()
      await stopPostmaster(current)
      await watching
    },
  }
}
