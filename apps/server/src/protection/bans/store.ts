import { maybeOne, type Db } from '../../platform/db/index.ts'
import { newId } from '../../platform/ids.ts'
import { networkOf, networkText, parseNetwork, type Network } from '../address/address.ts'

export type Ban = {
  id: string
  network: string
  reason: string
  kind: 'manual' | 'automatic'
  strikes: number
  created_by: string | null
  created_at: Date
  until: Date
}

/** A ban as instances tell each other: how long it still holds, 0 when it was lifted. */
export type BanNews = { network: Network; leftMs: number; byStaff: boolean }

/** Each further ban of a block is twice as long, up to this. */
const LONGEST = '30 days'
const DOUBLINGS = 12
const REMEMBERED = '7 days'
/** So many banned /64 in one /48 are one offender who moves about. */
const SPREAD_IN_PREFIX = 3

const columns = (db: Db) => db`id, network::text, reason, kind, strikes, created_by, created_at, until`

type InForce = { network: string; left_ms: string; kind: Ban['kind'] }

const news = (rows: readonly InForce[]): BanNews[] =>
  rows.flatMap(({ network, left_ms, kind }) => {
    const parsed = parseNetwork(network)
    return parsed ? [{ network: parsed, leftMs: Number(left_ms), byStaff: kind === 'manual' }] : []
  })

/** Every ban in force. */
export const bansInForce = async (db: Db): Promise<BanNews[]> =>
  news(
    await db<InForce[]>`
      select network::text, kind, ceil(extract(epoch from until - clock_timestamp()) * 1000)::text as left_ms
        from bans where until > clock_timestamp()`,
  )

/** Bans of repeat offenders grow; one that still holds is not made longer by being seen from two instances. */
const strike = (db: Db, network: string, reason: string, seconds: number) => db<
  { strikes: number; left_ms: string; kind: Ban['kind'] }[]
>`
  insert into bans as b (id, network, reason, kind, until)
  values (${newId()}, ${network}, ${reason}, 'automatic', clock_timestamp() + make_interval(secs => ${seconds}))
  on conflict (network) do update set
    strikes = b.strikes + (b.until <= clock_timestamp())::int,
    kind = case when b.until <= clock_timestamp() then 'automatic' else b.kind end,
    reason = case when b.until <= clock_timestamp() then excluded.reason else b.reason end,
    created_at = case when b.until <= clock_timestamp() then clock_timestamp() else b.created_at end,
    created_by = case when b.until <= clock_timestamp() then null else b.created_by end,
    until = case when b.until <= clock_timestamp()
      then clock_timestamp() + least(interval '1 second' * ${seconds} * 2 ^ least(b.strikes, ${DOUBLINGS}), ${LONGEST}::interval)
      else b.until end
  returning strikes, kind, ceil(extract(epoch from until - clock_timestamp()) * 1000)::text as left_ms`

const spreadIn = async (db: Db, prefix: string): Promise<number> => {
  const [row] = await db<{ n: number }[]>`
    select count(*)::int as n from bans where network << ${prefix}::cidr and kind = 'automatic' and masklen(network) = 64`
  return row?.n ?? 0
}

/**
 * Writes an automatic ban. An IPv6 offender who comes back, or moves about in a /48, is banned by the /48.
 * @returns the bans that hold now
 */
export async function writeAutomatic(db: Db, network: Network, reason: string, seconds: number): Promise<BanNews[]> {
  const written = async (block: Network): Promise<BanNews & { strikes: number }> => {
    const [row] = await strike(db, networkText(block), reason, seconds)
    const byStaff = row?.kind === 'manual'
    return { network: block, leftMs: Number(row?.left_ms ?? 0), byStaff, strikes: row?.strikes ?? 1 }
  }
  const own = await written(network)
  if (network.family === 4 || network.length !== 64) return [own]
  const prefix = networkOf(network, 48)
  const repeats = own.strikes > 1 || (await spreadIn(db, networkText(prefix))) >= SPREAD_IN_PREFIX
  return repeats ? [own, await written(prefix)] : [own]
}

/** Writes a ban by staff, in place of one on the same block. */
export async function writeManual(
  db: Db,
  wish: { network: Network; reason: string; seconds: number; by: string },
): Promise<Ban> {
  const [row] = await db<Ban[]>`
    insert into bans as b (id, network, reason, kind, created_by, until)
    values (${newId()}, ${networkText(wish.network)}, ${wish.reason}, 'manual', ${wish.by},
            clock_timestamp() + make_interval(secs => ${wish.seconds}))
    on conflict (network) do update set
      kind = 'manual', reason = excluded.reason, created_by = excluded.created_by, created_at = clock_timestamp(),
      until = excluded.until
    returning ${columns(db)}`
  if (!row) throw new Error('a ban was not written')
  return row
}

/**
 * Lifts the ban of a block, and what came by itself on wider ones that hold it; forgets that there were any.
 * @returns what was lifted, nothing when there is none in force
 */
export const removeBans = async (db: Db, network: Network): Promise<{ id: string; network: Network }[]> => {
  const rows = await db<{ id: string; network: string }[]>`
    delete from bans
     where network >>= ${networkText(network)}::cidr and until > clock_timestamp()
       and (network = ${networkText(network)}::cidr or kind = 'automatic')
    returning id, network::text`
  return rows.flatMap(({ id, network: text }) => {
    const lifted = parseNetwork(text)
    return lifted ? [{ id, network: lifted }] : []
  })
}

/** One ban, while it is in force, and how long it still is. */
export async function banById(db: Db, id: string): Promise<{ ban: Ban; leftMs: number } | undefined> {
  const found = await maybeOne(db<(Ban & { left_ms: string })[]>`
    select ${columns(db)}, ceil(extract(epoch from until - clock_timestamp()) * 1000)::text as left_ms
      from bans where id = ${id} and until > clock_timestamp()`)
  if (!found) return undefined
  const { left_ms, ...ban } = found
  return { ban, leftMs: Number(left_ms) }
}

/** The narrowest block in force that holds this one, as text. */
export async function banOver(db: Db, network: Network): Promise<string | undefined> {
  const [row] = await db<{ network: string }[]>`
    select network::text from bans
     where network >>= ${networkText(network)}::cidr and until > clock_timestamp()
     order by masklen(network) desc limit 1`
  return row?.network
}

/** Bans in force, newest first. */
export async function listBans(
  db: Db,
  page: { page: number; per_page: number },
): Promise<{ total: number; data: Ban[] }> {
  const [count] = await db<{ n: number }[]>`select count(*)::int as n from bans where until > clock_timestamp()`
  const data = await db<Ban[]>`
    select ${columns(db)} from bans where until > clock_timestamp()
     order by created_at desc, network limit ${page.per_page} offset ${(page.page - 1) * page.per_page}`
  return { total: count?.n ?? 0, data: [...data] }
}

/** Rows that ended a week ago go. Safe to run twice. */
export async function forgetOldBans(db: Db): Promise<void> {
  await db`delete from bans where until < clock_timestamp() - ${REMEMBERED}::interval`
}
