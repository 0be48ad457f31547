import type { EnrollAnswer, EnrollRequest } from '@prime-vpn/node-protocol'
import { isPublicKey } from '@prime-vpn/wireguard'
import { audit } from '../platform/audit.ts'
import { violatedConstraint, type Sql, type Tx } from '../platform/db/index.ts'
import { Conflict, invalidField, Unauthenticated } from '../platform/errors.ts'
import { newId } from '../platform/ids.ts'
import { formatHostPort, parseHostPort } from './fields.ts'
import { installationId } from './installation.ts'
import { nodeConfig } from './node-config.ts'
import { insertNode, linkRow, takeToken, tokenServer } from './node-store.ts'
import { lockServer, updateServer } from './server-store.ts'
import { tokenHash } from './tokens.ts'

const IDENTITY_BYTES = 32

const refused = (): Unauthenticated =>
  new Unauthenticated('The enrolment token was used, has expired or was revoked. Make a new one for the server.')

function identityOf(text: string): Buffer {
  const raw = Buffer.from(text, 'base64')
  if (raw.length !== IDENTITY_BYTES || raw.toString('base64') !== text)
    throw invalidField('identity_key', 'must be base64 of 32 bytes')
  return raw
}

/**
 * The endpoint after an enrolment: the node may name the port, not another host.
 * @throws {Conflict} a host that is not the record's
 */
function agreedEndpoint(record: string, ipAddress: string, given: string | undefined): string {
  if (given === undefined) return record
  const wish = parseHostPort(given)
  if (!wish) throw invalidField('endpoint', 'must be host:port, an IPv6 address in brackets')
  const known = parseHostPort(record)
  if (!known || (wish.host !== known.host && wish.host !== ipAddress))
    throw new Conflict('The endpoint names another host than the record of this server. Change one of the two.')
  return formatHostPort({ host: known.host, port: wish.port })
}

function keyConflict(error: unknown): never {
  const constraint = violatedConstraint(error)
  if (constraint === 'vpn_servers_public_key_key') throw new Conflict('This WireGuard key is in use.')
  if (constraint === 'nodes_identity_key_key') throw new Conflict('This identity key is in use.')
  throw error
}

/** Lock order everywhere: the server's row, then its token. */
async function consume(tx: Tx, hash: Buffer): Promise<{ id: string; endpoint: string; ip_address: string }> {
  const serverId = await tokenServer(tx, hash)
  const server = serverId === undefined ? undefined : await lockServer(tx, serverId)
  if (!server || !(await takeToken(tx, hash))) throw refused()
  return server
}

async function keyOfCustomer(tx: Tx, publicKey: string): Promise<boolean> {
  return (await tx`select from wireguard_keys where public_key = ${publicKey}`).length > 0
}

/**
 * Makes a node of whoever holds a live token: of any number one wins. A refusal leaves the token unused.
 * @param changed called after the commit
 * @throws {Unauthenticated} token used, expired, revoked or unknown
 * @throws {Conflict} another host than the server's record, or a key that is in use
 * @throws {InvalidInput} a key that is none
 */
export async function enrollNode(
  { db, changed }: { db: Sql; changed: (serverId: string) => Promise<void> },
  request: EnrollRequest,
  requestId: string,
): Promise<EnrollAnswer> {
  const { public_key, backend, agent_version } = request
  if (!isPublicKey(public_key)) throw invalidField('public_key', 'must be a WireGuard public key')
  const identity_key = identityOf(request.identity_key)
  const installation = await installationId(db)
  const id = newId()
  const answer = await db
    .begin(async (tx) => {
      const server = await consume(tx, tokenHash(request.token))
      if (await keyOfCustomer(tx, public_key)) throw new Conflict('This WireGuard key is in use.')
      const endpoint = agreedEndpoint(server.endpoint, server.ip_address, request.endpoint)
      await updateServer(tx, server.id, { public_key, endpoint })
      const listen_port = request.listen_port ?? null
      await insertNode(tx, { id, server_id: server.id, identity_key, backend, agent_version, listen_port })
      await audit(tx, { actor: null, action: 'server.enrolled', subject: { type: 'server', id: server.id }, requestId })
      const row = await linkRow(tx, id)
      if (!row) throw new Error('a node that was inserted is not there')
      return { node_id: id, server_id: server.id, installation, hostname: row.hostname, config: nodeConfig(row) }
    })
    .catch(keyConflict)
  await changed(answer.server_id)
  return answer
}
