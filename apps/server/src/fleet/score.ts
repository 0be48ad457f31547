import { angleOf, unitVector, type Place } from './distance.ts'

/**
 * What a choice looks at, one column per property, so that 10,000 servers are scanned in tens of microseconds
 * (performance.md, 'Choosing the server').
 */
export type Board = {
  size: number
  /** 1: active, linked and not draining. */
  takes: Uint8Array
  premium: Uint8Array
  /** Tunnels now, with the reservations of this instance. */
  used: Int32Array
  /** `max_connections`. */
  max: Int32Array
  /** Tunnels it can hold now: `max_connections` but for seats that are owed. */
  seats: Int32Array
  /** Where it stands as a unit vector, three numbers each; NaN = unknown. */
  where: Float64Array
  /** ms; Infinity = unknown. */
  ping: Float64Array
}

export type Choice = {
  /** Restrict the choice to these rows; undefined = all. */
  among?: ArrayLike<number> | undefined
  /** Whether premium servers may be chosen. */
  premium: boolean
  place?: Place | undefined
  /** Choose also where the snapshot sees no room, since it is up to a second old. */
  full?: boolean
  /** 0 <= n < 1 */
  random: () => number
  limit: number
}

/** Servers whose load differs by less than this are equal. */
const BAND_TUNNELS = 2
const BAND_SHARE = 0.01
/** Of equals, those within so many km of the nearest are equally near. */
const RING_KM = 50

export function emptyBoard(size: number): Board {
  return {
    size,
    takes: new Uint8Array(size),
    premium: new Uint8Array(size),
    used: new Int32Array(size),
    max: new Int32Array(size),
    seats: new Int32Array(size),
    where: new Float64Array(size * 3).fill(Number.NaN),
    ping: new Float64Array(size).fill(Number.POSITIVE_INFINITY),
  }
}

const at = (column: ArrayLike<number>, i: number): number => column[i] ?? 0

/** Share of the allowed tunnels that are taken, 0..1 and above when `max_connections` was lowered. */
const loadOf = (board: Board, i: number): number => at(board.used, i) / at(board.max, i)

/** Two tunnels or one percent of the room, whichever is narrower: after a choice nobody is more than that ahead. */
const bandOf = (board: Board, i: number): number => Math.min(BAND_TUNNELS / at(board.max, i), BAND_SHARE)

/** True when server `i` could take a tunnel of this caller. */
export function fits(board: Board, i: number, { premium, full }: Pick<Choice, 'premium' | 'full'>): boolean {
  if (at(board.takes, i) === 0 || (!premium && at(board.premium, i) === 1)) return false
  return full === true || at(board.used, i) < at(board.seats, i)
}

/** Cosine of the angle to the caller: larger is nearer; -2 where either place is unknown. */
function nearness(board: Board, i: number, from: readonly number[] | undefined): number {
  if (!from) return -2
  const cosine =
    at(board.where, 3 * i) * at(from, 0) +
    at(board.where, 3 * i + 1) * at(from, 1) +
    at(board.where, 3 * i + 2) * at(from, 2)
  return Number.isNaN(cosine) ? -2 : cosine
}

/** Negative when `a` is the better one: load, then distance, then ping; unknown pings last. */
function compare(board: Board, a: number, b: number, from: readonly number[] | undefined): number {
  const byLoad = loadOf(board, a) - loadOf(board, b)
  if (byLoad !== 0) return byLoad
  const byDistance = nearness(board, b, from) - nearness(board, a, from)
  if (byDistance !== 0) return byDistance
  return at(board.ping, a) < at(board.ping, b) ? -1 : at(board.ping, a) > at(board.ping, b) ? 1 : 0
}

type Best = { rows: number[]; lowest: number }

/** The best rows in order, and the lowest load. */
function bestRows(board: Board, choice: Choice, from: readonly number[] | undefined): Best {
  const rows: number[] = []
  let lowest = Number.POSITIVE_INFINITY
  const count = choice.among?.length ?? board.size
  for (let n = 0; n < count; n++) {
    const i = choice.among ? at(choice.among, n) : n
    if (!fits(board, i, choice)) continue
    lowest = Math.min(lowest, loadOf(board, i))
    const last = rows.at(-1)
    if (rows.length === choice.limit && last !== undefined && compare(board, i, last, from) >= 0) continue
    let place = rows.length
    while (place > 0 && compare(board, i, rows[place - 1] ?? i, from) < 0) place--
    rows.splice(place, 0, i)
    if (rows.length > choice.limit) rows.pop()
  }
  return { rows, lowest }
}

/** One of the equally loaded, near ones first, at random by free capacity. */
function drawEqual(board: Board, choice: Choice, lowest: number, from: readonly number[] | undefined): number {
  const band: number[] = []
  let nearest = -2
  const count = choice.among?.length ?? board.size
  for (let n = 0; n < count; n++) {
    const i = choice.among ? at(choice.among, n) : n
    if (!fits(board, i, choice)) continue
    const ahead = loadOf(board, i) - lowest
    // The epsilon keeps 'two tunnels ahead' out although 2/250 is no exact binary fraction.
    if (ahead > 0 && ahead >= bandOf(board, i) - 1e-12) continue
    band.push(i)
    if (from) nearest = Math.max(nearest, nearness(board, i, from))
  }
  const ring = nearest > -2 ? Math.cos(Math.min(Math.PI, Math.acos(Math.min(1, nearest)) + angleOf(RING_KM))) : -2
  const weight = (i: number): number =>
    nearness(board, i, from) >= ring ? Math.max(1, at(board.seats, i) - at(board.used, i)) : 0
  let left = choice.random() * band.reduce((sum, i) => sum + weight(i), 0)
  for (const i of band) {
    left -= weight(i)
    if (left < 0) return i
  }
  return band.at(-1) ?? -1
}

/**
 * Rows to try, best first (api.md, section 3, 'Selection'): first one drawn from the least loaded, then the others by
 * load, distance and ping. Empty when nothing fits.
 */
export function choose(board: Board, choice: Choice): number[] {
  const from = choice.place && unitVector(choice.place)
  const { rows, lowest } = bestRows(board, choice, from)
  if (rows.length === 0) return []
  const first = drawEqual(board, choice, lowest, from)
  return [first, ...rows.filter((i) => i !== first)].slice(0, choice.limit)
}

/**
 * How good a server is, larger is better: whole percents of load first (the band of equals), within one percent
 * distance, then ping. `load` 0..100, `distance` km, `ping` ms; null = unknown and counts as worst.
 */
export function totalScore(load: number, distance: number | null, ping: number | null): number {
  const near = distance === null ? 0 : 1 - Math.min(1, distance / 20_040)
  const quick = ping === null ? 0 : 1 / (1 + ping / 100)
  return Math.round((100 - Math.floor(load) + 0.9 * near + 0.09 * quick) * 10_000) / 10_000
}
