import { createHash, randomBytes } from 'node:crypto'
import { audit } from '../platform/audit.ts'
import { Conflict, NotFound } from '../platform/errors.ts'
import { NODE_DISMISSED, tell } from './channels.ts'
import type { Acts, Actor, Mark } from './deps.ts'
import { cutOffNode, nodeOf, putToken } from './node-store.ts'
import { lockServer } from './server-store.ts'

const LIFE_S = 3_600
const BYTES = 16

/** What is kept of a token: it is random enough that a plain hash tells nothing. */
export const tokenHash = (token: string): Buffer => createHash('sha256').update(token).digest()

/** 128 bits. The prefix keeps it from beginning with a dash, which a command line would take for an option. */
const newToken = (): string => `enrol_${randomBytes(BYTES).toString('base64url')}`

/**
 * Makes the one live enrolment token of a server; one before it is revoked.
 * @param replace cut an enrolled node off at once
 * @param mark notes the effect for an Idempotency-Key
 * @throws {NotFound}
 * @throws {Conflict} a node is enrolled and `replace` is not given
 */
export async function issueToken(
  acts: Acts,
  actor: Actor,
  serverId: string,
  replace: boolean,
  mark: Mark = null,
): Promise<{ token: string; expires_at: Date }> {
  const token = newToken()
  const { expires_at, dismissed } = await acts.db.begin(async (tx) => {
    if (!(await lockServer(tx, serverId))) throw new NotFound('The server')
    const node = await nodeOf(tx, serverId)
    if (node !== undefined && !replace)
      throw new Conflict('A node is enrolled for this server. Send {"replace": true} to cut it off and enrol another.')
    if (node !== undefined) await cutOffNode(tx, serverId)
    const expires_at = await putToken(tx, serverId, tokenHash(token), LIFE_S, node !== undefined)
    await audit(tx, {
      actor: actor.userId,
      action: node === undefined ? 'server.enrollment_token' : 'server.node_replaced',
      subject: { type: 'server', id: serverId },
      requestId: actor.requestId,
    })
    await mark?.mark(tx, serverId)
    return { expires_at, dismissed: node }
  })
  if (dismissed !== undefined) {
    await tell(acts.kv, NODE_DISMISSED, dismissed)
    await acts.changed(serverId)
  }
  return { token, expires_at }
}
