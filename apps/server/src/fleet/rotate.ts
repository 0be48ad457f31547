import { audit } from '../platform/audit.ts'
import { Conflict, Unavailable } from '../platform/errors.ts'
import type { Acts, Actor } from './deps.ts'
import { readServer } from './read.ts'
import type { AdminServer } from './schemas.ts'

/**
 * Asks the server's node for a new WireGuard key; the node tells it over its link.
 * @throws {NotFound}
 * @throws {Conflict} no node is enrolled
 * @throws {Unavailable} its link is down: nothing was changed
 */
export async function rotateKey(acts: Acts, actor: Actor, id: string): Promise<AdminServer> {
  const server = await readServer(acts.db, id)
  if (!server.enrolled) throw new Conflict('No node is enrolled for this server.')
  if (!(await acts.links.rotateKey(id))) throw new Unavailable('The node of this server is not linked right now.')
  await audit(acts.db, {
    actor: actor.userId,
    action: 'server.rotate_key',
    subject: { type: 'server', id },
    requestId: actor.requestId,
  })
  return server
}
