import { audit } from '../platform/audit.ts'
import { maybeOne, type Db } from '../platform/db/index.ts'
import { NotFound } from '../platform/errors.ts'
import type { TunnelDeps } from './deps.ts'
import { endTunnels, whenGone, type Removal } from './end.ts'
import type { AdminConnection, AdminQuery } from './schemas.ts'

const WAIT_MS = 3_000

const wanted = (db: Db, { user_id, server_id, status }: AdminQuery) => db`
  (${user_id ?? null}::uuid is null or c.user_id = ${user_id ?? null}::uuid)
  and (${server_id ?? null}::uuid is null or c.server_id = ${server_id ?? null}::uuid)
  and (${status ?? null}::text is null or (c.status = 'connected') = (${status ?? null}::text = 'active'))`

/** Connections as staff see them, newest first. */
export async function listConnections(db: Db, query: AdminQuery): Promise<{ total: number; rows: AdminConnection[] }> {
  const { page, per_page } = query
  const [count, rows] = await Promise.all([
    db<{ total: number }[]>`select count(*)::int as total from connections c where ${wanted(db, query)}`,
    db<AdminConnection[]>`
      select c.id as connection_id, c.user_id, c.server_id, c.device_id, c.end_reason as reason,
             case c.status when 'connected' then 'active' else 'ended' end as status,
             host(c.client_ip) as assigned_ip, c.started_at, c.ended_at, c.bytes_sent, c.bytes_received
        from connections c where ${wanted(db, query)}
       order by c.started_at desc, c.id desc limit ${per_page} offset ${(page - 1) * per_page}`,
  ])
  return { total: count[0]?.total ?? 0, rows }
}

/** Staff end a tunnel. @returns on how many nodes its peer is gone @throws {NotFound} */
export async function kick(
  deps: TunnelDeps,
  actor: { userId: string; requestId: string },
  id: string,
): Promise<Removal> {
  const { db, nodeLink } = deps
  const ended = await db.begin(async (tx) => {
    const found = await maybeOne(tx<{ id: string }[]>`select id from connections where id = ${id}`)
    if (!found) throw new NotFound('The connection')
    const rows = await endTunnels(tx, [id], 'admin')
    if (rows.length > 0) {
      const subject = { type: 'connection', id }
      await audit(tx, { actor: actor.userId, action: 'connection.ended', subject, requestId: actor.requestId })
    }
    return rows
  })
  for (const { server_id } of ended) if (server_id !== null) nodeLink.wake(server_id)
  return whenGone(deps, ended, WAIT_MS)
}
