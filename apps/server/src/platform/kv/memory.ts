import { EventEmitter } from 'node:events'
import { systemClock, type Clock } from '../clock.ts'
import type { Kv } from './kv.ts'

type Entry = { value: string; until: number }

const SWEEP_MS = 10_000

/** The in-process twin: same behaviour as Redis for one instance, gone with the process. */
export function memoryKv(clock: Clock = systemClock): Kv {
  const entries = new Map<string, Entry>()
  const channels = new EventEmitter().setMaxListeners(0)

  const live = (key: string): string | null => {
    const entry = entries.get(key)
    if (!entry) return null
    if (entry.until > clock.now()) return entry.value
    entries.delete(key)
    return null
  }
  const put = (key: string, value: string, ttlMs: number) => entries.set(key, { value, until: clock.now() + ttlMs })

  const sweep = setInterval(() => {
    for (const key of entries.keys()) live(key)
  }, SWEEP_MS)
  sweep.unref()

  return {
    async get(key) {
      return live(key)
    },
    async set(key, value, ttlMs) {
      put(key, value, ttlMs)
    },
    async setOnce(key, value, ttlMs) {
      if (live(key) !== null) return false
      put(key, value, ttlMs)
      return true
    },
    async take(key) {
      const value = live(key)
      entries.delete(key)
      return value
    },
    async delete(key) {
      entries.delete(key)
    },
    async publish(channel, message) {
      // As with a real bus the listener runs after the publisher goes on.
      setImmediate(() => channels.emit(channel, message))
    },
    async subscribe(channel, listener) {
      channels.on(channel, listener)
      return () => void channels.off(channel, listener)
    },
    healthy: () => true,
    async close() {
      clearInterval(sweep)
      channels.removeAllListeners()
      entries.clear()
    },
  }
}
