import { foldCounters, type CounterAccount } from '@prime-vpn/node-protocol'
import type { NodeLinks, NodeReport } from '../node-link/index.ts'
import type { Clock } from '../platform/clock.ts'
import type { Sql } from '../platform/db/index.ts'
import { accountsOf } from './live-store.ts'
import { sound } from './sound.ts'

/** A tunnel as its node counts it. */
export type LiveKey = { connectionId: string; serverId: string; slot: number; version: number }

/** A tunnel somebody looks at. */
export type Watched = LiveKey & {
  account: CounterAccount
  /** Bytes per second from the customer's side, as of the last report. */
  up: number
  down: number
  /** Milliseconds since 1970 at the node of the last report. */
  at: number | null
  /** Monotonic ms until which the speeds hold: a report that does not come says that nothing moved. */
  speedUntil: number
  /** Monotonic ms until which somebody looks. */
  until: number
  /** Grows when the counters change. */
  changes: number
}

export type LiveSample = {
  bytesSent: bigint
  bytesReceived: bigint
  uploadMbps: number
  downloadMbps: number
  lastHandshake: Date | null
}

/** After a status call (api.md, section 4). */
export const STATUS_WATCH_MS = 30_000
const SPEED_HOLDS_MS = 2_500
const REPORT_EVERY_MS = 1_000
/** The nodes are told what is watched this often, for twice as long and more. */
const RENEW_MS = 5_000
const WATCH_MS = 15_000

export const toMbps = (bytesPerSecond: number): number => Math.round(bytesPerSecond / 125) / 1000

/** The present numbers of the tunnels that somebody looks at, whichever instance holds their nodes' links. */
export class LiveBoard {
  readonly #byServer = new Map<string, Map<number, Watched>>()
  readonly #db: Sql
  readonly #clock: Clock
  readonly #links: Pick<NodeLinks, 'watch'>
  #toldAt = -Infinity

  constructor({ db, clock, links }: { db: Sql; clock: Clock; links: Pick<NodeLinks, 'watch'> }) {
    this.#db = db
    this.#clock = clock
    this.#links = links
  }

  /** Looks at these tunnels for so long. What is new is read from the database first. */
  async watch(keys: readonly LiveKey[], forMs: number): Promise<(Watched | undefined)[]> {
    const until = performance.now() + forMs
    const unknown = keys.filter((key) => !this.#find(key))
    if (unknown.length > 0) {
      const accounts = await accountsOf(this.#db, unknown.map((key) => key.connectionId)) // prettier-ignore
      const byId = new Map(accounts.map(({ connectionId, account }) => [connectionId, account]))
      for (const key of unknown) {
        const account = byId.get(key.connectionId)
        if (account && !this.#find(key)) this.#put(key, account)
      }
    }
    const found = keys.map((key) => this.#find(key))
    for (const watched of found) if (watched) watched.until = Math.max(watched.until, until)
    if (unknown.length > 0) this.#tell()
    return found
  }

  /** @returns in the order of the keys; null where there is no such tunnel */
  async read(keys: readonly LiveKey[]): Promise<(LiveSample | null)[]> {
    const now = performance.now()
    const found = await this.watch(keys, STATUS_WATCH_MS)
    return found.map((watched) => watched && sampleOf(watched, now)).map((sample) => sample ?? null)
  }

  /** Takes what a node told, here or elsewhere. */
  take(report: NodeReport): void {
    const slots = this.#byServer.get(report.serverId)
    if (!slots) return
    const now = performance.now()
    for (const counters of report.peers) {
      const watched = slots.get(counters.slot)
      if (!watched || counters.version < watched.version) continue
      const told = sound(counters, this.#clock.now())
      if (!told) continue
      const account = foldCounters(watched.account, {
        epoch: counters.epoch,
        rx: told.rx,
        tx: told.tx,
        handshake_at: told.handshakeAt,
      })
      if (account === watched.account) continue
      this.#note(watched, account, report.at, now)
    }
  }

  /** Forgets what nobody looks at and renews the rest. To be called about once a second. */
  tick(): void {
    const now = performance.now()
    for (const [serverId, slots] of this.#byServer) {
      for (const [slot, { until }] of slots) if (until <= now) slots.delete(slot)
      if (slots.size === 0) this.#byServer.delete(serverId)
    }
    if (now - this.#toldAt >= RENEW_MS) this.#tell()
  }

  #tell(): void {
    this.#toldAt = performance.now()
    const slots = new Map([...this.#byServer].map(([serverId, watched]) => [serverId, [...watched.keys()]]))
    this.#links.watch('live', slots, WATCH_MS)
  }

  #find(key: LiveKey): Watched | undefined {
    const watched = this.#byServer.get(key.serverId)?.get(key.slot)
    return watched?.connectionId === key.connectionId ? watched : undefined
  }

  #put(key: LiveKey, account: CounterAccount): void {
    let slots = this.#byServer.get(key.serverId)
    if (!slots) this.#byServer.set(key.serverId, (slots = new Map()))
    const { connectionId, serverId, slot, version } = key
    const idle = { up: 0, down: 0, at: null, speedUntil: 0, until: 0, changes: 0 }
    slots.set(slot, { connectionId, serverId, slot, version, account, ...idle })
  }

  #note(watched: Watched, account: CounterAccount, at: number | null, now: number): void {
    const gap = at !== null && watched.at !== null ? at - watched.at : 0
    if (gap > 0) {
      // A watched tunnel is reported each second in which it moved: a longer gap was silence before this second.
      const seconds = (gap < 1.9 * REPORT_EVERY_MS ? gap : REPORT_EVERY_MS) / 1000
      watched.up = Number(account.rx - watched.account.rx) / seconds
      watched.down = Number(account.tx - watched.account.tx) / seconds
      watched.speedUntil = now + SPEED_HOLDS_MS
    }
    watched.at = at
    watched.account = account
    watched.changes++
  }
}

export function sampleOf(watched: Watched, now: number): LiveSample {
  const { account, up, down, speedUntil } = watched
  const moving = now < speedUntil
  return {
    bytesSent: account.rx,
    bytesReceived: account.tx,
    uploadMbps: moving ? toMbps(up) : 0,
    downloadMbps: moving ? toMbps(down) : 0,
    lastHandshake: account.handshakeAt > 0 ? new Date(account.handshakeAt * 1000) : null,
  }
}
