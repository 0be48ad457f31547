import type { Db } from '../platform/db/index.ts'
import type { TunnelDeps } from './deps.ts'

/** Why a tunnel ended. */
export type EndReason =
  | 'user'
  | 'admin'
  | 'moved'
  | 'idle'
  | 'plan_ended'
  | 'deactivated'
  | 'device_removed'
  | 'server_removed'
  | 'key_rotated'

/** A tunnel that ended just now; `version` is the one in which nobody holds its slot. */
export type Ended = { id: string; user_id: string; server_id: string | null; slot: number; version: number }

type Row = Omit<Ended, 'version'> & { version: bigint }
const plain = (rows: readonly Row[]): Ended[] => rows.map((row) => ({ ...row, version: Number(row.version) }))

/**
 * The one function that ends tunnels (house plan, way 5), in the caller's transaction. The nodes hear of it with the
 * commit, sockets too. Those already ended are left out.
 * @param lingerMs the peer stays so long, for an answer that travels through it
 */
export async function endTunnels(db: Db, ids: readonly string[], reason: EndReason, lingerMs = 0): Promise<Ended[]> {
  if (ids.length === 0) return []
  return plain(
    await db<Row[]>`
      select id, user_id, server_id, slot, version
        from end_connections(${[...ids]}::uuid[], ${reason}, make_interval(secs => ${lingerMs / 1000}))`,
  )
}

/**
 * Ends what the user's plan or account does not allow any more: all when deactivated, else tunnels on premium servers
 * of a free plan and the oldest above the limit. Safe to call at any time.
 */
export async function enforceEntitlement(db: Db, userId: string): Promise<Ended[]> {
  return plain(await db<Row[]>`select id, user_id, server_id, slot, version from enforce_entitlement(${userId})`)
}

/** On how many of the nodes concerned the peers are gone. */
export type Removal = { removed: number; of: number }

/** Waits until the nodes hold none of these peers, at most `timeoutMs`. */
export async function whenGone(
  { nodeLink }: Pick<TunnelDeps, 'nodeLink'>,
  ended: readonly Ended[],
  timeoutMs: number,
): Promise<Removal> {
  const left = new Map<string, boolean>()
  await Promise.all(
    ended.map(async ({ server_id: server, slot, version }) => {
      if (server === null) return
      left.set(server, left.get(server) ?? true)
      const gone = await nodeLink.gone(server, slot, version, timeoutMs)
      if (gone === 'timeout') left.set(server, false)
    }),
  )
  return { removed: [...left.values()].filter(Boolean).length, of: left.size }
}
