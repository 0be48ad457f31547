import { audit } from '../platform/audit.ts'
import { NotFound } from '../platform/errors.ts'
import type { Acts, Actor } from './deps.ts'
import { readServer } from './read.ts'
import type { AdminServer } from './schemas.ts'
import { lockServer, updateServer } from './server-store.ts'

/** The server takes no new tunnels; those it has go on. Taken back by `PATCH {draining:false}`. @throws {NotFound} */
export async function drainServer(acts: Acts, actor: Actor, id: string): Promise<AdminServer> {
  await acts.db.begin(async (tx) => {
    if (!(await lockServer(tx, id))) throw new NotFound('The server')
    await updateServer(tx, id, { draining: true })
    await audit(tx, {
      actor: actor.userId,
      action: 'server.drained',
      subject: { type: 'server', id },
      requestId: actor.requestId,
    })
  })
  await acts.changed(id)
  return readServer(acts.db, id)
}
