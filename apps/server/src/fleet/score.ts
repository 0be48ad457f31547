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
  /** Tunnels now, with the reservations of this instance; written by `setUsed`. */
  used: Int32Array
  /** used / max: 0..1, and above when `max_connections` was lowered. Most rows of a scan are passed by on this alone. */
  load: Float64Array
  /** `max_connections`. */
  max: Int32Array
  /** Tunnels it can hold now: `max_connections` but for seats that are owed. */
  seats: Int32Array
  /** Where it stands as a unit vector, three numbers each; NaN = unknown. */
  where: Float64Array
  /** ms; Infinity = unknown. */
  ping: Float64Array
  /** Room for a list of rows while a choice is made. */
  scratch: Int32Array
}

export type Choice = {
  /** Restrict the choice to these rows; undefined = all. */
  among?: readonly number[] | undefined
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
/** Below every cosine. */
const UNKNOWN = -2

export function emptyBoard(size: number): Board {
  return {
    size,
    takes: new Uint8Array(size),
    premium: new Uint8Array(size),
    used: new Int32Array(size),
    load: new Float64Array(size),
    max: new Int32Array(size),
    seats: new Int32Array(size),
    where: new Float64Array(size * 3).fill(Number.NaN),
    ping: new Float64Array(size).fill(Number.POSITIVE_INFINITY),
    scratch: new Int32Array(size),
  }
}

/** Sets how many tunnels a server has; `max` is set before. */
export function setUsed(board: Board, i: number, used: number): void {
  board.used[i] = used
  board.load[i] = used / (board.max[i] ?? 1)
}

/** True when server `i` could take a tunnel of this caller. */
export function fits(board: Board, i: number, { premium, full }: Pick<Choice, 'premium' | 'full'>): boolean {
  if (board.takes[i] !== 1 || (!premium && board.premium[i] === 1)) return false
  return full === true || (board.used[i] ?? 0) < (board.seats[i] ?? 0)
}

/** Two tunnels or one percent of the room, whichever is narrower: after a choice nobody is more than that ahead. */
const bandOf = (board: Board, i: number): number => Math.min(BAND_TUNNELS / (board.max[i] ?? 1), BAND_SHARE)

/** Cosine of the angle to the caller: larger is nearer; UNKNOWN where either place is. */
function nearness({ where }: Board, i: number, from: readonly number[] | undefined): number {
  if (!from) return UNKNOWN
  const [x = 0, y = 0, z = 0] = from
  const cosine = (where[3 * i] ?? 0) * x + (where[3 * i + 1] ?? 0) * y + (where[3 * i + 2] ?? 0) * z
  return Number.isNaN(cosine) ? UNKNOWN : cosine
}

type Ranked = { row: number; load: number; near: number; ping: number }

/** Negative when the first is the better one: load, then distance, then ping; unknown pings last. */
function compare(load: number, near: number, ping: number, other: Ranked): number {
  if (load !== other.load) return load - other.load
  if (near !== other.near) return other.near - near
  return ping < other.ping ? -1 : ping > other.ping ? 1 : 0
}

/** The best rows in order. One pass; what cannot be among them costs one comparison. */
function bestRows(board: Board, choice: Choice, from: readonly number[] | undefined): Ranked[] {
  const { among, limit } = choice
  const loads = board.load
  const best: Ranked[] = []
  let last: Ranked | undefined
  let cutoff = Number.POSITIVE_INFINITY
  const count = among?.length ?? board.size
  for (let n = 0; n < count; n++) {
    const i = among ? (among[n] ?? 0) : n
    const load = loads[i] ?? 0
    if (load > cutoff || !fits(board, i, choice)) continue
    const near = nearness(board, i, from)
    const ping = board.ping[i] ?? Number.POSITIVE_INFINITY
    if (last && compare(load, near, ping, last) >= 0) continue
    let place = best.length
    for (let above = best[place - 1]; above && compare(load, near, ping, above) < 0; above = best[place - 1]) place--
    best.splice(place, 0, { row: i, load, near, ping })
    if (best.length > limit) best.pop()
    if (best.length < limit) continue
    last = best[limit - 1]
    cutoff = last?.load ?? cutoff
  }
  return best
}

/** Notes those that are as good as equal to the least loaded in the board's scratch. @returns how many */
function equals(board: Board, choice: Choice, lowest: number): number {
  const { among } = choice
  const { scratch, load: loads } = board
  const cutoff = lowest + BAND_SHARE
  const count = among?.length ?? board.size
  let found = 0
  for (let n = 0; n < count; n++) {
    const i = among ? (among[n] ?? 0) : n
    const load = loads[i] ?? 0
    if (load > cutoff || load < lowest || !fits(board, i, choice)) continue
    // The epsilon keeps 'two tunnels ahead' out although 2/250 is no exact binary fraction.
    if (load === lowest || load - lowest < bandOf(board, i) - 1e-12) scratch[found++] = i
  }
  return found
}

/** Keeps the near ones of the first `count` in the scratch. @returns how many stay */
function nearest(board: Board, count: number, from: readonly number[]): number {
  const { scratch } = board
  let closest = UNKNOWN
  for (let n = 0; n < count; n++) closest = Math.max(closest, nearness(board, scratch[n] ?? 0, from))
  if (closest === UNKNOWN) return count
  const ring = Math.cos(Math.min(Math.PI, Math.acos(Math.min(1, closest)) + angleOf(RING_KM)))
  let kept = 0
  for (let n = 0; n < count; n++) {
    const i = scratch[n] ?? 0
    if (nearness(board, i, from) >= ring) scratch[kept++] = i
  }
  return kept
}

/** One of the first `count` in the scratch, at random by free capacity. */
function draw(board: Board, count: number, random: () => number): number {
  const { scratch, seats, used } = board
  const weight = (i: number): number => Math.max(1, (seats[i] ?? 0) - (used[i] ?? 0))
  let sum = 0
  for (let n = 0; n < count; n++) sum += weight(scratch[n] ?? 0)
  let left = random() * sum
  for (let n = 0; n < count; n++) {
    const i = scratch[n] ?? 0
    left -= weight(i)
    if (left < 0) return i
  }
  return scratch[count - 1] ?? 0
}

/**
 * Rows to try, best first (api.md, section 3, 'Selection'): first one drawn from the least loaded, then the others by
 * load, distance and ping. Empty when nothing fits.
 */
export function choose(board: Board, choice: Choice): number[] {
  const from = choice.place && unitVector(choice.place)
  const best = bestRows(board, choice, from)
  const [top] = best
  if (!top) return []
  const band = equals(board, choice, top.load)
  const first = draw(board, from ? nearest(board, band, from) : band, choice.random)
  return [first, ...best.flatMap(({ row }) => (row === first ? [] : row))].slice(0, choice.limit)
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
