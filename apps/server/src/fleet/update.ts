import { audit } from '../platform/audit.ts'
import { NotFound } from '../platform/errors.ts'
import { canonicalEndpoint, serverConflict } from './create.ts'
import { NODE_CONFIG, tell } from './channels.ts'
import type { Acts, Actor } from './deps.ts'
import { plainAddress } from './fields.ts'
import { readServer } from './read.ts'
import type { AdminServer, ServerChange } from './schemas.ts'
import { lockServer, resizeServer, updateServer, type ServerUpdate, type StoredStatus } from './server-store.ts'
import { assertRoom } from './subnets.ts'

/** Fields whose column has their name and takes them as they are. */
const PLAIN = [
  'hostname',
  'country',
  'country_code',
  'city',
  'location',
  'latitude',
  'longitude',
  'tier',
  'features',
  'streaming_services',
  'draining',
] as const

/** `active` only takes a maintenance back: the node's link tells whether the server is there. */
function statusAfter(before: StoredStatus, wish: ServerChange['status']): StoredStatus {
  if (wish === undefined) return before
  if (wish === 'maintenance') return 'maintenance'
  return before === 'maintenance' ? 'offline' : before
}

function columnsOf(change: ServerChange, before: StoredStatus): ServerUpdate {
  const columns: Record<string, unknown> = {}
  for (const name of PLAIN) if (change[name] !== undefined) columns[name] = change[name]
  const { endpoint, ip_address, bandwidth, status } = change
  if (endpoint !== undefined) columns.endpoint = canonicalEndpoint(endpoint)
  if (ip_address !== undefined) columns.ip_address = plainAddress(ip_address)
  if (bandwidth?.download !== undefined) columns.bandwidth_download = bandwidth.download
  if (bandwidth?.upload !== undefined) columns.bandwidth_upload = bandwidth.upload
  if (status !== undefined) columns.status = statusAfter(before, status)
  return columns
}

/**
 * Changes what is given of a server. A larger or smaller `max_connections` moves its free seats with it.
 * @throws {NotFound}
 * @throws {Conflict} hostname taken
 * @throws {InvalidInput} more tunnels than the subnet has addresses
 */
export async function changeServer(acts: Acts, actor: Actor, id: string, change: ServerChange): Promise<AdminServer> {
  const endpointMoved = await acts.db
    .begin(async (tx) => {
      const before = await lockServer(tx, id)
      if (!before) throw new NotFound('The server')
      const columns = columnsOf(change, before.status)
      await updateServer(tx, id, columns)
      if (change.max_connections !== undefined && change.max_connections !== before.max_connections) {
        assertRoom(before.subnet_v4, change.max_connections)
        await resizeServer(tx, id, change.max_connections)
      }
      await audit(tx, {
        actor: actor.userId,
        action: 'server.changed',
        subject: { type: 'server', id },
        fields: Object.keys(change),
        requestId: actor.requestId,
      })
      return columns.endpoint !== undefined && columns.endpoint !== before.endpoint
    })
    .catch(serverConflict)
  await acts.changed(id)
  if (endpointMoved) await tell(acts.kv, NODE_CONFIG, id)
  return readServer(acts.db, id)
}
