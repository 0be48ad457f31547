import { setTimeout as sleep } from 'node:timers/promises'
import type { Sql } from '../../platform/db/index.ts'
import type { Kv } from '../../platform/kv/index.ts'
import type { Log } from '../../platform/log.ts'
import { networkText, parseNetwork, type Address, type Network } from '../address/address.ts'
import { NetworkMap } from '../address/network-map.ts'
import type { Client } from '../client.ts'
import type { Fleet } from '../fleet-addresses.ts'
import type { Now } from '../limiter/limiter.ts'
import { bansInForce, writeAutomatic, type BanNews } from './store.ts'

const CHANNEL = 'bans'
const RELOAD_EVERY_MS = 60_000
const RETRY_MS = 1_000
/** So long a banned caller may wait to hear how long the ban is. */
const WRITTEN_WITHIN_MS = 1_000
/** Bans waiting to be written; above it they hold in memory only, which a database that is away must not change. */
const MAX_WAITING = 10_000

type Waiting = { network: Network; reason: string; seconds: number }
/** When it ends by the monotonic clock, and who made it. */
type Held = { readonly network: Network; readonly until: number; readonly byStaff: boolean }
type Changed = { network: Network; held: Held | null }
type Deps = { sql: Sql; kv: Kv; log: Log; now: Now }

/**
 * Who is banned, in memory; the truth is in the database. Every change is told twice, by the key-value store and by
 * NOTIFY, and all of it is read again each minute: an instance learns it within a second while either works.
 */
export class Bans {
  readonly #deps: Deps
  #held = new NetworkMap<Held>()
  #waiting: Waiting[] = []
  /** Changes heard while the bans are being read. */
  #meanwhile: Changed[] | null = null
  #reading: Promise<void> | null = null
  #writing: Promise<void> | null = null
  #ends: (() => Promise<unknown> | void)[] = []
  #retry: NodeJS.Timeout | undefined
  #closed = false

  constructor(deps: Deps) {
    this.#deps = deps
  }

  get size(): number {
    return this.#held.size
  }

  /** The ban on `address` that ends last: until then it is refused, whatever narrower ones say. */
  #longest(address: Address, now: number, byStaff: boolean): Held | undefined {
    return this.#held.best(address, (held) => (byStaff && !held.byStaff ? 0 : held.until - now))
  }

  #left(address: Address, byStaff: boolean): number {
    if (this.#held.size === 0) return 0
    const now = this.#deps.now()
    const held = this.#longest(address, now, byStaff)
    return held === undefined ? 0 : held.until - now
  }

  /** Milliseconds that `address` stays banned; 0 when it is not. */
  leftMs(address: Address): number {
    return this.#left(address, false)
  }

  /** The same for bans that a person made: those hold also for whom no ban comes by itself. */
  leftByStaffMs(address: Address): number {
    return this.#left(address, true)
  }

  /** The block by which `address` is banned the longest. @param byStaff by a person only */
  blockOf(address: Address, byStaff: boolean): Network | undefined {
    return this.#longest(address, this.#deps.now(), byStaff)?.network
  }

  apply({ network, leftMs, byStaff }: BanNews): void {
    const held = leftMs > 0 ? { network, until: this.#deps.now() + leftMs, byStaff } : null
    this.#meanwhile?.push({ network, held })
    if (held) this.#held.set(network, held)
    else this.#held.delete(network)
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
    const fresh = new NetworkMap<Held>()
    const now = this.#deps.now()
    const inForce = await bansInForce(this.#deps.sql).finally(() => (this.#meanwhile = null))
    for (const { network, leftMs, byStaff } of inForce) fresh.set(network, { network, until: now + leftMs, byStaff })
    for (const { network } of this.#waiting) {
      const held = this.#held.get(network)
      if (held !== undefined) fresh.set(network, held)
    }
    // What was heard since the reading began may be missing in it.
    for (const { network, held } of meanwhile) {
      if (held) fresh.set(network, held)
      else fresh.delete(network)
    }
    this.#held = fresh
  }

  #hear(message: string): void {
    const [text = '', left, kind] = message.split(' ')
    const network = parseNetwork(text)
    if (network) this.apply({ network, leftMs: Number(left), byStaff: kind === 'manual' })
  }

  /**
   * Bans at once on this instance; writes and tells the others behind it.
   * @returns when it is written, and so as long as it is to be; when the database is away, or slow, it stays as it is
   */
  ban(network: Network, reason: string, seconds: number): Promise<void> {
    this.apply({ network, leftMs: seconds * 1_000, byStaff: false })
    if (this.#waiting.length < MAX_WAITING) this.#waiting.push({ network, reason, seconds })
    return Promise.race([this.#write(), sleep(WRITTEN_WITHIN_MS, undefined, { ref: false })])
  }

  /** After a change in the database: takes effect here and is told to the others. */
  async spread(news: BanNews): Promise<void> {
    this.apply(news)
    const kind = news.byStaff ? 'manual' : 'automatic'
    await this.#deps.kv.publish(CHANNEL, `${networkText(news.network)} ${news.leftMs} ${kind}`).catch(() => undefined)
  }

  #write(): Promise<void> {
    // After a failure all wait for the one try that is due: each ban trying for itself would not let the database rise.
    if (this.#closed || this.#retry !== undefined || this.#waiting.length === 0) return Promise.resolve()
    return (this.#writing ??= this.#writeAll())
  }

  async #writeAll(): Promise<void> {
    try {
      for (let next = this.#waiting[0]; next; next = this.#waiting[0]) {
        for (const news of await writeAutomatic(this.#deps.sql, next.network, next.reason, next.seconds))
          await this.spread(news)
        this.#waiting.shift()
      }
    } catch (err) {
      if (this.#closed) return
      this.#deps.log.warn({ err, waiting: this.#waiting.length }, 'a ban could not be written yet')
      this.#retry = setTimeout(() => {
        this.#retry = undefined
        void this.#write()
      }, RETRY_MS).unref()
    } finally {
      // At once, not when the promise is heard of: a ban in between would wait for nobody.
      this.#writing = null
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#retry)
    for (const end of this.#ends.splice(0)) await end()
  }
}

/**
 * Milliseconds for which a caller is refused as banned. A listed one never is; one of our own nodes, behind whose address
 * many customers are, only by a person.
 */
export function bannedMs({ listed, address }: Pick<Client, 'listed' | 'address'>, bans: Bans, fleet: Fleet): number {
  if (listed) return 0
  const left = bans.leftMs(address)
  return left > 0 && fleet.has(address) ? bans.leftByStaffMs(address) : left
}
