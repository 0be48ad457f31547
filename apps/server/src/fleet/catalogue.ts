import { haversineKm, type Place } from './distance.ts'
import type { Recommended, ServerQuery, ServerView, Sort } from './schemas.ts'
import { fits, totalScore } from './score.ts'
import { PROTOCOLS } from './server-store.ts'
import type { Snapshot } from './snapshot.ts'

const TOP = 10

/** Unknown comes last, whichever way the others go. */
function comparer(sort: Sort, sign: number) {
  return (a: ServerView, b: ServerView): number => {
    const [x, y] = [a[sort], b[sort]]
    if (x === y) return a.hostname < b.hostname ? -1 : 1
    if (x === null) return 1
    if (y === null) return -1
    return x < y ? -sign : sign
  }
}

/** The fleet in an order, each order made once for each state of the snapshot. */
export class Catalogue {
  readonly #snapshot: Snapshot
  #version = -1
  #orders = new Map<string, ServerView[]>()

  constructor(snapshot: Snapshot) {
    this.#snapshot = snapshot
  }

  #sorted(sort: NonNullable<ServerQuery['sort']>): ServerView[] {
    if (this.#version !== this.#snapshot.version) {
      this.#orders.clear()
      this.#version = this.#snapshot.version
    }
    let order = this.#orders.get(sort)
    if (!order) {
      const descending = sort.startsWith('-')
      const by = comparer(sort.replace('-', '') as Sort, descending ? -1 : 1)
      order = this.#snapshot.servers.map((server) => server.view).toSorted(by)
      this.#orders.set(sort, order)
    }
    return order
  }

  /** A page of the servers that pass every filter. Without `sort` in the order of their names. */
  list(query: ServerQuery): { servers: ServerView[]; total: number } {
    const tests = filtersOf(query)
    const order = this.#sorted(query.sort ?? 'hostname')
    const found = tests.length === 0 ? order : order.filter((server) => tests.every((test) => test(server)))
    const from = (query.page - 1) * query.per_page
    return { servers: found.slice(from, from + query.per_page), total: found.length }
  }

  /** The best servers that would take a tunnel now, with what makes them so. */
  recommended(wish: {
    location?: string | undefined
    feature?: string | undefined
    premium: boolean
    place?: Place | undefined
  }): Recommended {
    const { board, servers } = this.#snapshot
    const rows = wish.location === undefined ? servers.keys() : this.#snapshot.at(wish.location).values()
    const scored: Recommended['servers'] = []
    for (const row of rows) {
      const server = servers[row]
      if (!server || !fits(board, row, wish)) continue
      if (wish.feature !== undefined && !server.view.features.includes(wish.feature)) continue
      scored.push(withScore(server.view, wish.place))
    }
    scored.sort(
      (a, b) => b.score.total - a.score.total || a.score.load - b.score.load || (a.hostname < b.hostname ? -1 : 1),
    )
    return { servers: scored.slice(0, TOP) }
  }
}

function withScore(view: ServerView, place: Place | undefined): Recommended['servers'][number] {
  const { latitude, longitude, load, ping } = view
  const known = place && latitude !== null && longitude !== null
  const distance = known ? Math.round(haversineKm(place, { latitude, longitude })) : null
  return { ...view, score: { load, ping, distance, total: totalScore(load, distance, ping) } }
}

type Test = (server: ServerView) => boolean

function filtersOf(query: ServerQuery): Test[] {
  const tests: Test[] = []
  const equal = (wanted: string, ...given: string[]) =>
    given.some((text) => text.toLowerCase() === wanted.toLowerCase())
  const { country, city, location, protocol, streaming, feature, tier, status } = query
  if (country !== undefined) tests.push((s) => equal(country, s.country_code, s.country))
  if (city !== undefined) tests.push((s) => equal(city, s.city))
  if (location !== undefined) tests.push((s) => equal(location, s.country_code, s.city, s.location))
  if (protocol !== undefined) tests.push(() => PROTOCOLS.includes(protocol))
  if (streaming !== undefined) tests.push((s) => s.streaming_services.length > 0 === streaming)
  if (feature !== undefined) tests.push((s) => s.features.includes(feature))
  if (tier !== undefined) tests.push((s) => s.tier === tier)
  if (status !== undefined) tests.push((s) => s.status === status)
  return tests
}
