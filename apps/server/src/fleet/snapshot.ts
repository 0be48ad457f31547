import { unitVector } from './distance.ts'
import { emptyBoard, setUsed, type Board } from './score.ts'
import type { ServerView } from './schemas.ts'
import {
  loadPercent,
  PROTOCOLS,
  shownPing,
  shownStatus,
  type Facts,
  type StoredStatus,
  type Tick,
} from './server-store.ts'

/** A server as this process knows it. */
export type FleetServer = {
  /** As customers see it. */
  readonly view: ServerView
  readonly facts: Facts
  readonly status: StoredStatus
  readonly draining: boolean
  /** Its node's link is up. */
  readonly linked: boolean
  /** Tunnels at the last look. */
  readonly tunnels: number
  readonly maxConnections: number
}

/** Tunnels this process has begun and the last look did not count. */
type Own = { open: number; settled: number; looking: number }

const reads = (own: Own | undefined): number => (own ? own.open + own.settled + own.looking : 0)

const key = (text: string): string => text.toLowerCase()

function viewOf(facts: Facts, [, , status, , max, , tunnels, , ping]: Tick): ServerView {
  return {
    id: facts.id,
    hostname: facts.hostname,
    country: facts.country,
    country_code: facts.country_code,
    city: facts.city,
    location: facts.location,
    latitude: facts.latitude,
    longitude: facts.longitude,
    ip_address: facts.ip_address,
    endpoint: facts.endpoint,
    public_key: facts.public_key,
    protocols: PROTOCOLS,
    status: shownStatus(status),
    tier: facts.tier,
    premium: facts.tier === 'premium',
    load: loadPercent(tunnels, max),
    ping: shownPing(ping),
    bandwidth: { download: facts.bandwidth_download, upload: facts.bandwidth_upload },
    streaming_services: facts.streaming_services,
    features: facts.features,
  }
}

/**
 * The fleet in memory. A look (`begin`, read, `apply`) replaces what is known; reservations of this process count until
 * a look that began after they were settled.
 */
export class Snapshot {
  /** Grows with each look that changed something customers can see. */
  version = 0
  servers: FleetServer[] = []
  board: Board = emptyBoard(0)
  #rows = new Map<string, number>()
  #own = new Map<string, Own>()
  #places = new Map<string, number[]>()
  #countries = new Map<string, number[]>()
  #ticks = new Map<string, string>()

  /** The row of a server customers may know of: one that is enrolled. */
  rowOf(id: string): number | undefined {
    return this.#rows.get(id.toLowerCase())
  }

  byId(id: string): FleetServer | undefined {
    const row = this.rowOf(id)
    return row === undefined ? undefined : this.servers[row]
  }

  /** Rows whose code, city or location is this, without regard to case. */
  at(location: string): readonly number[] {
    return this.#places.get(key(location)) ?? []
  }

  /** Rows in the country of this code or name, without regard to case. */
  inCountry(country: string): readonly number[] {
    return this.#countries.get(key(country)) ?? []
  }

  /** Which of these servers have to be read whole before `apply`. */
  stale(ticks: readonly Tick[]): string[] {
    return ticks.filter(([id, stamp]) => this.byId(id)?.facts.stamp !== stamp).map(([id]) => id)
  }

  /** To be called before a look reads: what is settled now will be in its counts. */
  begin(): void {
    for (const own of this.#own.values()) {
      own.looking += own.settled
      own.settled = 0
    }
  }

  /** The look failed: what would have been counted still counts here. */
  abandon(): void {
    for (const own of this.#own.values()) {
      own.settled += own.looking
      own.looking = 0
    }
  }

  /** Takes in a look. Servers without a key are unknown to customers and left out. */
  apply(ticks: readonly Tick[], fresh: readonly Facts[]): void {
    const facts = new Map(fresh.map((server) => [server.id, server]))
    const servers: FleetServer[] = []
    const changed = new Map<string, string>()
    for (const tick of ticks) {
      const [id, , status, draining, maxConnections, , tunnels, linked] = tick
      const before = this.byId(id)
      const known = facts.get(id) ?? before?.facts
      // Deleted or added between the two reads: the next look tells.
      if (!known || known.public_key === null) continue
      const text = tick.join()
      changed.set(id, text)
      if (before && before.facts === known && this.#ticks.get(id) === text) servers.push(before)
      else servers.push({ view: viewOf(known, tick), facts: known, status, draining, linked, tunnels, maxConnections })
    }
    const same = servers.length === this.servers.length && servers.every((server, i) => server === this.servers[i])
    this.servers = servers
    this.#ticks = changed
    this.#rows = new Map(servers.map((server, i) => [server.facts.id, i]))
    if (!same) this.version++
    if (!same) this.#index()
    this.#forgetCounted()
    this.#fill(ticks)
  }

  #index(): void {
    this.#places.clear()
    this.#countries.clear()
    const note = (map: Map<string, number[]>, names: string[], i: number) => {
      for (const name of new Set(names.map(key))) {
        const rows = map.get(name)
        if (rows) rows.push(i)
        else map.set(name, [i])
      }
    }
    this.servers.forEach(({ facts }, i) => {
      note(this.#places, [facts.country_code, facts.city, facts.location], i)
      note(this.#countries, [facts.country_code, facts.country], i)
    })
  }

  #forgetCounted(): void {
    for (const [id, own] of this.#own) {
      own.looking = 0
      if (own.open + own.settled === 0) this.#own.delete(id)
    }
  }

  #fill(ticks: readonly Tick[]): void {
    const seats = new Map(ticks.map(([id, , , , max, balance]) => [id, max + balance]))
    const board = emptyBoard(this.servers.length)
    this.servers.forEach(({ facts, view, status, draining, linked, tunnels, maxConnections }, i) => {
      board.takes[i] = status === 'active' && linked && !draining ? 1 : 0
      board.premium[i] = view.premium ? 1 : 0
      board.max[i] = maxConnections
      setUsed(board, i, tunnels + reads(this.#own.get(facts.id)))
      board.seats[i] = seats.get(facts.id) ?? maxConnections
      if (view.ping !== null) board.ping[i] = view.ping
      if (facts.latitude !== null && facts.longitude !== null)
        board.where.set(unitVector({ latitude: facts.latitude, longitude: facts.longitude }), 3 * i)
    })
    this.board = board
  }

  #add(id: string, own: Own, kind: 'open' | 'settled', by: number): void {
    own[kind] += by
    const row = this.rowOf(id)
    if (row !== undefined) setUsed(this.board, row, (this.board.used[row] ?? 0) + by)
  }

  #ownOf(id: string): Own {
    let own = this.#own.get(id)
    if (!own) this.#own.set(id, (own = { open: 0, settled: 0, looking: 0 }))
    return own
  }

  /** One tunnel more on this server until it is released. */
  open(id: string): void {
    this.#add(id, this.#ownOf(id), 'open', 1)
  }

  /** Takes back what `open` added. */
  close(id: string): void {
    this.#add(id, this.#ownOf(id), 'open', -1)
  }

  /** A tunnel on this server was committed: the next look that begins counts it. */
  settle(id: string): void {
    this.#add(id, this.#ownOf(id), 'settled', 1)
  }
}
