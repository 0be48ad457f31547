import { audit } from '../platform/audit.ts'
import { violatedConstraint, type Tx } from '../platform/db/index.ts'
import { Conflict } from '../platform/errors.ts'
import { newId } from '../platform/ids.ts'
import type { Acts, Actor, Mark } from './deps.ts'
import { formatHostPort, parseHostPort, plainAddress } from './fields.ts'
import { readServer } from './read.ts'
import type { AdminServer, NewServer } from './schemas.ts'
import { insertServer, type ServerColumns } from './server-store.ts'
import { assertRoom, randomUla, takeSubnet } from './subnets.ts'

const DEFAULT_MAX_CONNECTIONS = 250
const ATTEMPTS = 3

/** The one spelling of an endpoint that passed its schema. */
export function canonicalEndpoint(text: string): string {
  const endpoint = parseHostPort(text)
  if (!endpoint) throw new Error('an endpoint that its schema did not judge')
  return formatHostPort(endpoint)
}

/** What a violated constraint of `vpn_servers` means to staff; anything else is thrown again. */
export function serverConflict(error: unknown): never {
  switch (violatedConstraint(error) ?? '') {
    case 'vpn_servers_hostname_key':
      throw new Conflict('A server with this hostname exists.')
    case 'vpn_servers_own_subnet_v4':
      throw new Conflict('subnet_v4 overlaps the subnet of another server.')
    case 'vpn_servers_own_subnet_v6':
      throw new Conflict('subnet_v6 overlaps the subnet of another server.')
    default:
      throw error
  }
}

function columnsOf(wish: NewServer): ServerColumns {
  return {
    hostname: wish.hostname,
    country: wish.country,
    country_code: wish.country_code,
    city: wish.city,
    location: wish.location,
    latitude: wish.latitude ?? null,
    longitude: wish.longitude ?? null,
    endpoint: canonicalEndpoint(wish.endpoint),
    ip_address: plainAddress(wish.ip_address),
    tier: wish.tier,
    bandwidth_download: wish.bandwidth?.download ?? null,
    bandwidth_upload: wish.bandwidth?.upload ?? null,
    features: wish.features ?? [],
    streaming_services: wish.streaming_services ?? [],
  }
}

async function insert(tx: Tx, { vpnSubnet }: Acts, id: string, wish: NewServer): Promise<void> {
  const max_connections = wish.max_connections ?? DEFAULT_MAX_CONNECTIONS
  const subnet_v4 = wish.subnet_v4 ?? (await takeSubnet(tx, vpnSubnet, max_connections))
  assertRoom(subnet_v4, max_connections)
  const subnet_v6 = wish.subnet_v6 ?? randomUla()
  await insertServer(tx, { id, ...columnsOf(wish), max_connections, subnet_v4, subnet_v6 })
}

/** A clash of a subnet we chose ourselves is worth another try. */
const isOurs = (error: unknown, wish: NewServer): boolean => {
  const constraint = violatedConstraint(error)
  return (
    (constraint === 'vpn_servers_own_subnet_v4' && wish.subnet_v4 === undefined) ||
    (constraint === 'vpn_servers_own_subnet_v6' && wish.subnet_v6 === undefined)
  )
}

/**
 * Adds a server with its addresses. It stays hidden from customers until a node is enrolled.
 * @param mark notes the effect for an Idempotency-Key
 * @throws {Conflict} hostname or subnet taken, or no subnet left
 * @throws {InvalidInput} more tunnels than the subnet has addresses
 */
export async function createServer(acts: Acts, actor: Actor, wish: NewServer, mark: Mark = null): Promise<AdminServer> {
  for (let attempt = 1; ; attempt++) {
    const id = newId()
    try {
      await acts.db.begin(async (tx) => {
        await insert(tx, acts, id, wish)
        await audit(tx, {
          actor: actor.userId,
          action: 'server.created',
          subject: { type: 'server', id },
          fields: Object.keys(wish),
          requestId: actor.requestId,
        })
        await mark?.mark(tx, id)
      })
    } catch (error) {
      if (attempt < ATTEMPTS && isOurs(error, wish)) continue
      serverConflict(error)
    }
    await acts.changed(id)
    return readServer(acts.db, id)
  }
}
