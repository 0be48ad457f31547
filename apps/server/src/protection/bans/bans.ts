import type { Sql } from '../../platform/db/index.ts'
import type { Kv } from '../../platform/kv/index.ts'
import type { Log } from '../../platform/log.ts'
import { networkText, parseNetwork, type Address, type Network } from '../address/address.ts'
import { NetworkMap } from '../address/network-map.ts'
import type { Now } from '../limiter/limiter.ts'
import { bansInForce, writeAutomatic, type BanNews } from './store.ts'

const CHANNEL = 'bans'
const RELOAD_EVERY_MS = 60_000
const RETRY_MS = 1_000
/** Bans waiting to be written; above it they hold in memory only, which a database that is away must not change. */
const MAX_WAITING = 10_000

type Waiting = { network: Network; reason: string; seconds: number }
type Changed = { network: Network; until: number }
type Deps = { sql: Sql; kv: Kv; log: Log; now: Now }

/**
 * Who is banned, in memory; the truth is in the database. Every change is told twice, by the key-value store and by
 * NOTIFY, and all of it is read again each minute: an instance learns it within a second while either works.
 */
export class Bans {
  readonly #deps: Deps
  /** Block -> moment of the monotonic clock at which it ends. */
  #until = new NetworkMap<number>()
  #waiting: Waiting[] = []
  /** Changes heard while the bans are being read. */
  #meanwhile: Changed[] | null = null
  #reading: Promise<void> | null = null
  #writing = false
  #ends: (() => Promise<unknown> | void)[] = []
  #retry: NodeJS.Timeout | undefined
  #closed = false

  constructor(deps: Deps) {
    this.#deps = deps
  }

  get size(): number {
    return this.#until.size
  }

  /** Milliseconds that `address` stays banned; 0 when it is not. */
  leftMs(address: Address): number {
    if (this.#until.size === 0) return 0
    const now = this.#deps.now()
    // One that has ended must not hide a wider one that holds.
    const until = this.#until.find(address, (end) => end > now)
    return until === undefined ? 0 : until - now
  }

  apply({ network, leftMs }: BanNews): void {
    this.#meanwhile?.push({ network, until: leftMs > 0 ? this.#deps.now() + leftMs : 0 })
    if (leftMs > 0) this.#until.set(network, this.#deps.now() + leftMs)
    else this.#until.delete(network)
  }

  /** Reads all bans and goes on listening. @throws when the database cannot be read now */
  async start(): Promise<void> {
    const { sql, kv, log } = this.#deps
    await this.reload()
    const reload = () => void this.reload().catch((err: unknown) => log.warn({ err }, 'reading the bans'))
    this.#ends.push(await kv.subscribe(CHANNEL, (message) => this.#hear(message)))
    // Without a session of its own (some poolers) this hears nothing; the store and the minute's reading remain.
    const listening = sql.listen(CHANNEL, (message) => this.#hear(message), reload)
    listening.then(
      (session) => this.#ends.push(() => session.unlisten()),
      (err: unknown) => log.warn({ err }, 'listening for bans'),
    )
    const timer = setInterval(reload, RELOAD_EVERY_MS)
    timer.unref()
    this.#ends.push(() => clearInterval(timer))
  }

  /** Reads all bans again; a second call while one runs is that one. */
  reload(): Promise<void> {
    return (this.#reading ??= this.#read().finally(() => (this.#reading = null)))
  }

  async #read(): Promise<void> {
    const meanwhile: Changed[] = (this.#meanwhile = [])
    const fresh = new NetworkMap<number>()
    const now = this.#deps.now()
    const inForce = await bansInForce(this.#deps.sql).finally(() => (this.#meanwhile = null))
    for (const { network, leftMs } of inForce) fresh.set(network, now + leftMs)
    for (const { network } of this.#waiting) {
      const until = this.#until.get(network)
      if (until !== undefined) fresh.set(network, until)
    }
    // What was heard since the reading began may be missing in it.
    for (const { network, until } of meanwhile) {
      if (until > 0) fresh.set(network, until)
      else fresh.delete(network)
    }
    this.#until = fresh
  }

  #hear(message: string): void {
    const [text = '', left] = message.split(' ')
    const network = parseNetwork(text)
    if (network) this.apply({ network, leftMs: Number(left) })
  }

  /** Bans at once on this instance; writes and tells the others behind it. */
  ban(network: Network, reason: string, seconds: number): void {
    this.apply({ network, leftMs: seconds * 1_000 })
    if (this.#waiting.length < MAX_WAITING) this.#waiting.push({ network, reason, seconds })
    void this.#write()
  }

  /** After a change in the database: takes effect here and is told to the others. */
  async spread(news: BanNews): Promise<void> {
    this.apply(news)
    await this.#deps.kv.publish(CHANNEL, `${networkText(news.network)} ${news.leftMs}`).catch(() => undefined)
  }

  async #write(): Promise<void> {
    if (this.#writing || this.#closed) return
    this.#writing = true
    try {
      for (let next = this.#waiting[0]; next; next = this.#waiting[0]) {
        for (const news of await writeAutomatic(this.#deps.sql, next.network, next.reason, next.seconds))
          await this.spread(news)
        this.#waiting.shift()
      }
    } catch (err) {
      if (this.#closed) return
      this.#deps.log.warn({ err, waiting: this.#waiting.length }, 'a ban could not be written yet')
      this.#retry = setTimeout(() => void this.#write(), RETRY_MS).unref()
    } finally {
      this.#writing = false
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#retry)
    for (const end of this.#ends.splice(0)) await end()
  }
}
