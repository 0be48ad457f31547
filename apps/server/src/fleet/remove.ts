import { setTimeout as sleep } from 'node:timers/promises'
import { audit } from '../platform/audit.ts'
import { Conflict, NotFound } from '../platform/errors.ts'
import { NODE_DISMISSED, tell } from './channels.ts'
import type { Acts, Actor } from './deps.ts'
import { nodeOf } from './node-store.ts'
import { readServer } from './read.ts'
import { clearingOf, endTunnels, lockServer, removeServerRow, tunnelsOf, updateServer } from './server-store.ts'

/** A linked node gets so long to confirm that its peers are gone before it is dismissed. */
const CONFIRM_MS = 3_000
const POLL_MS = 50
const ATTEMPTS = 3

const isDeadlock = (error: unknown): boolean => (error as { code?: unknown }).code === '40P01'

/** Two that lock the same rows from different ends: the one PostgreSQL ended runs again. */
async function again<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt === ATTEMPTS || !isDeadlock(error)) throw error
    }
  }
}

async function endAllTunnels(acts: Acts, id: string): Promise<void> {
  await acts.db.begin(async (tx) => {
    const server = await lockServer(tx, id)
    if (!server) throw new NotFound('The server')
    if (!server.draining && (await tunnelsOf(tx, id)) > 0) throw new Conflict('The server has tunnels: drain it first.')
    await updateServer(tx, id, { draining: true })
  })
  await again(() => acts.db.begin((tx) => endTunnels(tx, id)))
}

async function waitForNode(acts: Acts, id: string): Promise<void> {
  const until = Date.now() + CONFIRM_MS
  while (Date.now() < until && (await clearingOf(acts.db, id)) > 0) await sleep(POLL_MS)
}

/**
 * Deletes a server. Its tunnels end first, so that a linked node drops their peers before it is dismissed.
 * @throws {NotFound}
 * @throws {Conflict} it has tunnels and is not drained
 */
export async function removeServer(acts: Acts, actor: Actor, id: string): Promise<void> {
  const { node } = await readServer(acts.db, id)
  await endAllTunnels(acts, id)
  await acts.changed(id)
  if (node?.linked) await waitForNode(acts, id)
  const dismissed = await again(() =>
    acts.db.begin(async (tx) => {
      const last = await nodeOf(tx, id)
      await removeServerRow(tx, id)
      await audit(tx, {
        actor: actor.userId,
        action: 'server.removed',
        subject: { type: 'server', id },
        requestId: actor.requestId,
      })
      return last
    }),
  )
  await acts.changed(id)
  if (dismissed) await tell(acts.kv, NODE_DISMISSED, dismissed)
}
