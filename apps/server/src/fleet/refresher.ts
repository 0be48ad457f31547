import type { Sql } from '../platform/db/index.ts'
import type { Kv } from '../platform/kv/index.ts'
import type { Log } from '../platform/log.ts'
import { FLEET_CHANGED } from './channels.ts'
import type { Exits } from './exits.ts'
import { readFacts, readTicks } from './server-store.ts'
import type { Snapshot } from './snapshot.ts'
import { NOTICE_SHARE, REFRESH_MS, REFRESH_SHARE } from './timing.ts'

export type Refresher = {
  /** Resolves when a look that began after this call is taken in. @throws when the database cannot be read */
  refresh(): Promise<void>
  start(): Promise<void>
  stop(): Promise<void>
}

/** Keeps a snapshot fresh: every second or so, when told, and when asked. One look at a time. */
export function createRefresher({
  db,
  kv,
  log,
  snapshot,
  exits,
}: {
  db: Sql
  kv: Kv
  log: Log
  snapshot: Snapshot
  exits: Exits
}): Refresher {
  let running: Promise<void> | undefined
  let next: Promise<void> | undefined
  let timer: NodeJS.Timeout | undefined
  let told: NodeJS.Timeout | undefined
  let unsubscribe: (() => void) | undefined
  let stopped = false
  let failing = false
  let took = 0

  async function lookAtServers(): Promise<void> {
    snapshot.begin()
    try {
      const ticks = await readTicks(db)
      const stale = snapshot.stale(ticks)
      snapshot.apply(ticks, stale.length > 0 ? await readFacts(db, stale) : [])
    } catch (error) {
      snapshot.abandon()
      throw error
    }
  }

  async function look(): Promise<void> {
    const begun = performance.now()
    try {
      await lookAtServers()
      await exits.look()
    } finally {
      took = performance.now() - begun
    }
  }

  function run(): Promise<void> {
    running = look().finally(() => (running = undefined))
    return running
  }

  function refresh(): Promise<void> {
    if (!running) return run()
    // The look under way may have read before the caller's change: all who ask meanwhile share the one after it.
    next ??= running
      .catch(() => undefined)
      .then(() => {
        next = undefined
        return run()
      })
    return next
  }

  async function refreshQuietly(): Promise<void> {
    try {
      await refresh()
      if (failing) log.info('the fleet can be read again')
      failing = false
    } catch (err) {
      if (!failing) log.warn({ err }, 'the fleet cannot be read; the last state known stays in use')
      failing = true
    }
  }

  function plan(): void {
    if (stopped) return
    timer = setTimeout(() => void refreshQuietly().then(plan), Math.max(REFRESH_MS, took * REFRESH_SHARE))
    timer.unref()
  }

  /** Told of many changes at once (10,000 nodes that link again) it looks once for all that come in a while. */
  function hear(): void {
    if (stopped || told) return
    told = setTimeout(() => {
      told = undefined
      void refreshQuietly()
    }, took * NOTICE_SHARE)
    told.unref()
  }

  return {
    refresh,
    async start() {
      await refreshQuietly()
      unsubscribe = await kv.subscribe(FLEET_CHANGED, hear)
      plan()
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      clearTimeout(told)
      unsubscribe?.()
      await (next ?? running)?.catch(() => undefined)
    },
  }
}
