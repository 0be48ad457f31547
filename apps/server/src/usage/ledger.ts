import postgres from 'postgres'
import type { NodeReport } from '../node-link/index.ts'
import type { Sql } from '../platform/db/index.ts'
import type { Clock } from '../platform/clock.ts'
import type { Log } from '../platform/log.ts'
import { FirstHandshakes } from './first-handshakes.ts'
import { foldReports, type Counted } from './fold-store.ts'
import { sound } from './sound.ts'
import { ReportSpeeds } from './speed.ts'

/** Reports wait so long for company; those of removed peers and first handshakes, for which others wait, do not. */
const FLUSH_MS = 2_000
const RETRY_MS = 1_000
/** Rows of one statement. */
const BATCH = 5_000

export type Ledger = {
  /** Takes a report; resolves once all of it is in the database, however long that takes. */
  add(report: NodeReport): Promise<void>
  /** Writes what waits; rejects when the database cannot take it. */
  flush(): Promise<void>
  /** Writes what waits, once, and takes no more. */
  stop(): Promise<void>
}

const isBadData = (error: unknown): boolean => error instanceof postgres.PostgresError && /^2[23]/.test(error.code)

/** Collects reports and adds them to the connections, many in one statement. */
export function createLedger({ db, log, clock }: { db: Sql; log: Log; clock: Clock }): Ledger {
  /** By slot; several only where the kernel began anew or the slot changed hands meanwhile. */
  const waiting = new Map<string, Counted[]>()
  const speeds = new ReportSpeeds()
  const handshakes = new FirstHandshakes()
  let stored = Promise.withResolvers<void>()
  let timer: NodeJS.Timeout | undefined
  let dueAt = Infinity
  let running: Promise<void> | undefined

  /** @returns whether something of it should be written at once */
  function take(report: NodeReport): boolean {
    let urgent = report.final
    for (const counters of report.peers) {
      const { slot, version, epoch } = counters
      const told = sound(counters, clock.now())
      if (!told) {
        log.warn({ server_id: report.serverId, slot }, 'a node told counters that cannot be')
        continue
      }
      const { rx, tx } = told
      const bytesPerSecond =
        report.at === null ? 0n : speeds.note(report.serverId, slot, { version, epoch, at: report.at, rx, tx })
      if (report.final) {
        speeds.forget(report.serverId, slot)
        handshakes.forget(report.serverId, slot)
      } else if (told.handshakeAt > 0 && handshakes.note(report.serverId, slot, version)) urgent = true
      put({ serverId: report.serverId, slot, version, epoch, ...told, bytesPerSecond, final: report.final })
    }
    return urgent
  }

  function put(next: Counted): void {
    const key = `${next.serverId}/${next.slot}`
    const list = waiting.get(key)
    const last = list?.at(-1)
    if (!list || !last) return void waiting.set(key, [next])
    if (last.version !== next.version || last.epoch !== next.epoch) return void list.push(next)
    list[list.length - 1] = {
      ...next,
      rx: next.rx > last.rx ? next.rx : last.rx,
      tx: next.tx > last.tx ? next.tx : last.tx,
      handshakeAt: Math.max(next.handshakeAt, last.handshakeAt),
      bytesPerSecond: next.bytesPerSecond > last.bytesPerSecond ? next.bytesPerSecond : last.bytesPerSecond,
      final: next.final || last.final,
    }
  }

  function plan(ms: number): void {
    const at = performance.now() + ms
    if (at >= dueAt) return
    clearTimeout(timer)
    dueAt = at
    timer = setTimeout(() => {
      dueAt = Infinity
      flush().catch((err: unknown) => {
        log.warn({ err }, 'counters could not be stored; they are tried again')
        plan(RETRY_MS)
      })
    }, ms)
  }

  async function write(batch: readonly Counted[]): Promise<void> {
    try {
      if (batch.length > 0) await foldReports(db, batch)
    } catch (err) {
      if (!isBadData(err)) throw err
      // One entry must not keep all others from being counted.
      if (batch.length === 1) return log.error({ err, server_id: batch[0]?.serverId }, 'counters were refused')
      const half = batch.length >> 1
      await write(batch.slice(0, half))
      await write(batch.slice(half))
    }
  }

  async function writeAll(): Promise<void> {
    const lists = [...waiting.values()]
    const done = stored
    waiting.clear()
    stored = Promise.withResolvers<void>()
    try {
      // What began later is added later: in one statement a connection comes once.
      for (let round = 0; ; round++) {
        const entries = lists.flatMap((list) => list[round] ?? [])
        if (entries.length === 0) break
        for (let from = 0; from < entries.length; from += BATCH) await write(entries.slice(from, from + BATCH))
      }
      done.resolve()
    } catch (error) {
      const newer = [...waiting.values()]
      waiting.clear()
      for (const list of [...lists, ...newer]) for (const entry of list) put(entry)
      stored.promise.then(done.resolve, done.reject)
      throw error
    }
  }

  function flush(): Promise<void> {
    const before = running ?? Promise.resolve()
    const mine = before.catch(() => undefined).then(() => (waiting.size > 0 ? writeAll() : undefined))
    running = mine
    return mine
  }

  return {
    add(report) {
      const urgent = take(report)
      if (waiting.size === 0) return running ?? Promise.resolve()
      plan(urgent ? 0 : FLUSH_MS)
      return stored.promise
    },
    flush,
    async stop() {
      clearTimeout(timer)
      await flush()
    },
  }
}
