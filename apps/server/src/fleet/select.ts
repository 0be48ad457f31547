import { AppError, NotFound } from '../platform/errors.ts'
import type { Place } from './distance.ts'
import { choose, fits } from './score.ts'
import type { Snapshot } from './snapshot.ts'

/** What a caller wants of a server, and what his plan allows. */
export type Wish = {
  serverId?: string | undefined
  /** Code, city or location. */
  location?: string | undefined
  /** Code or name. */
  country?: string | undefined
  feature?: string | undefined
  tier: 'free' | 'premium'
  place?: Place | undefined
}

export type Refusal = 'NO_SERVER_AVAILABLE' | 'SUBSCRIPTION_REQUIRED'

export type Candidates = {
  /** Best first, at least one. The database has the last word on each. */
  ids: string[]
  /** What to answer when all of them turn out to be full. */
  whenFull: Refusal
}

const LIMIT = 8

const MESSAGES: Record<Refusal, string> = {
  NO_SERVER_AVAILABLE: 'No server is available for this request right now.',
  SUBSCRIPTION_REQUIRED: 'The servers for this request need a premium plan.',
}

export const refusal = (code: Refusal): AppError => new AppError(code, MESSAGES[code])

/** Rows that match location, country and feature; undefined = all. */
function matching(snapshot: Snapshot, wish: Wish): readonly number[] | undefined {
  let rows: readonly number[] | undefined
  if (wish.location !== undefined) rows = snapshot.at(wish.location)
  if (wish.country !== undefined) {
    const there = snapshot.inCountry(wish.country)
    const both = rows && new Set(rows)
    rows = both ? there.filter((row) => both.has(row)) : there
  }
  const { feature } = wish
  if (feature === undefined) return rows
  const all = rows ?? [...snapshot.servers.keys()]
  return all.filter((row) => snapshot.servers[row]?.facts.features.includes(feature))
}

function named(snapshot: Snapshot, wish: Wish, id: string): Candidates {
  const row = snapshot.rowOf(id)
  const server = row === undefined ? undefined : snapshot.servers[row]
  if (row === undefined || !server) throw new NotFound('The server')
  if (server.view.premium && wish.tier === 'free') throw refusal('SUBSCRIPTION_REQUIRED')
  const meets = matching(snapshot, wish)
  if (meets && !meets.includes(row)) throw refusal('NO_SERVER_AVAILABLE')
  // Room is not judged here: the snapshot may be a second old, and a seat that came free since counts.
  if (!fits(snapshot.board, row, { premium: true, full: true })) throw refusal('NO_SERVER_AVAILABLE')
  return { ids: [server.facts.id], whenFull: 'NO_SERVER_AVAILABLE' }
}

/**
 * Servers to try for a connect, from memory (api.md, section 3, 'Selection'). Where the snapshot sees no room anywhere the
 * healthy ones are named nevertheless.
 * @throws {NotFound} unknown server id
 * @throws {AppError} NO_SERVER_AVAILABLE, or SUBSCRIPTION_REQUIRED when only premium servers would fit a free plan
 */
export function candidates(snapshot: Snapshot, wish: Wish, random: () => number): Candidates {
  if (wish.serverId !== undefined) return named(snapshot, wish, wish.serverId)
  const among = matching(snapshot, wish)
  const premium = wish.tier === 'premium'
  const choice = { among, premium, place: wish.place, random, limit: LIMIT }
  const idsOf = (rows: number[]) => rows.flatMap((row) => snapshot.servers[row]?.facts.id ?? [])
  const withRoom = choose(snapshot.board, choice)
  const onlyPremium = (): Refusal =>
    !premium && choose(snapshot.board, { ...choice, premium: true, limit: 1 }).length > 0
      ? 'SUBSCRIPTION_REQUIRED'
      : 'NO_SERVER_AVAILABLE'
  if (withRoom.length > 0) return { ids: idsOf(withRoom), whenFull: 'NO_SERVER_AVAILABLE' }
  const healthy = choose(snapshot.board, { ...choice, full: true })
  if (healthy.length === 0) throw refusal(onlyPremium())
  return { ids: idsOf(healthy), whenFull: onlyPremium() }
}
