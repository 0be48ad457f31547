import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Health } from '../../fleet/index.ts'
import { uncountedAttempts, type Attempts } from '../../platform/attempts.ts'
import { one, type Db, type Sql } from '../../platform/db/index.ts'
import { Upgrades, type UpgradeRoute } from '../../platform/http/index.ts'
import { newId } from '../../platform/ids.ts'
import type { Kv } from '../../platform/kv/index.ts'
import { createLog } from '../../platform/log.ts'
import { defer, type Scope } from '../../platform/testing/index.ts'
import { createNodeLinks, type DesiredState, type NodeLinks, type NodeRegistry } from '../index.ts'
import { FakeNode, NODE_CONFIG_OF_TESTS, type Identity } from './fake-node.ts'

export const INSTALLATION = '00000000-0000-4000-8000-000000000001'
export const silent = createLog('silent')

/** Waits for a condition; fails with its name after five seconds. */
export async function until(what: string, condition: () => unknown, ms = 5_000): Promise<void> {
  const end = performance.now() + ms
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** What the tests' nodes are, in memory. */
export class TestRegistry implements NodeRegistry {
  readonly nodes = new Map<string, Identity>()
  readonly linkedTo = new Map<string, string>()
  readonly health: Health[] = []
  readonly keys: string[] = []
  config = NODE_CONFIG_OF_TESTS

  async nodeForLink(nodeId: string) {
    const node = this.nodes.get(nodeId)
    return node && { ...node, address: '192.0.2.1', installation: INSTALLATION, config: this.config }
  }
  async markLinked(nodeId: string, link: { linkId: string }) {
    this.linkedTo.set(nodeId, link.linkId)
    return this.nodes.has(nodeId)
  }
  async markUnlinked(nodeId: string, linkId: string) {
    if (this.linkedTo.get(nodeId) === linkId) this.linkedTo.delete(nodeId)
  }
  async recordHealth(batch: readonly Health[]) {
    this.health.push(...batch)
  }
  async storeNewKey(_nodeId: string, publicKey: string) {
    this.keys.push(publicKey)
    return true
  }
}

const PSK = `${'P'.repeat(43)}=`

/** The lease rows as desired state, as the room above reads them. */
export const desiredOf = (db: Sql): DesiredState => ({
  async changesSince(serverId, horizon) {
    const { horizon: read, rows } = await one(db<
      { horizon: string; rows: { slot: number; version: number; key: string | null }[] }[]
    >`select pg_snapshot_xmin(pg_current_snapshot())::text as horizon,
             coalesce((select json_agg(json_build_object('slot', slot, 'version', version, 'key', public_key))
                from leases where server_id = ${serverId} and version > 0
                 and changed_xid >= coalesce(${horizon}::text::xid8, '0')), '[]') as rows`)
    const peer = (key: string | null, slot: number) =>
      key === null ? null : { public_key: key, preshared_key: PSK, allowed_ips: [`10.77.0.${slot}/32`] }
    return { horizon: read, rows: rows.map(({ slot, version, key }) => ({ slot, version, peer: peer(key, slot) })) }
  },
  async cleared(serverId, slots) {
    await db`select confirm_cleared(${serverId}, ${slots.map((s) => s.slot)}::int[],
                                    ${slots.map((s) => String(s.version))}::bigint[])`
  },
  async clearedBelow(serverId, horizon) {
    await db`select confirm_cleared_below(${serverId}, ${horizon}::text::xid8)`
  },
})

let servers = 0

export async function aServer(db: Sql): Promise<string> {
  const id = newId()
  const n = ++servers
  await db`insert into vpn_servers (id, hostname, country, country_code, city, location, ip_address, endpoint, status, max_connections, subnet_v4, subnet_v6)
           values (${id}, ${`node-${n}.test`}, 'Germany', 'DE', 'Berlin', 'Berlin', '192.0.2.1', '192.0.2.1:51820', 'active', 50,
                   ${`10.77.${n}.0/24`}::cidr, ${`fd00:${n.toString(16)}::/64`}::cidr)`
  await db`select create_leases(${id})`
  return id
}

export async function aUser(db: Sql): Promise<string> {
  const id = randomUUID()
  await db`insert into users (id, email) values (${id}, ${`${id}@example.com`})`
  return id
}

export type Tunnel = { id: string; userId: string; serverId: string; slot: number; version: number; key: string }
let keys = 0

/** A tunnel as connect leaves it: the lease held, the connection running. */
export async function aTunnel(db: Db, userId: string, serverId: string, slot: number, seat = 0): Promise<Tunnel> {
  const id = newId()
  const key = `${String(++keys).padStart(43, 'K')}=`
  const { version } = await one(
    db<
      { version: bigint }[]
    >`select version + 1 as version from leases where server_id = ${serverId} and slot = ${slot}`,
  )
  await db`insert into connections (id, user_id, server_id, user_slot, client_ip, client_public_key, lease_slot, lease_version)
           values (${id}, ${userId}, ${serverId}, ${seat}, ${`10.77.0.${slot}`}, ${key}, ${slot}, ${version})`
  await db`update leases set state = 'held', connection_id = ${id}, last_connection_id = ${id}, public_key = ${key}, preshared_key = '\\x00'
            where server_id = ${serverId} and slot = ${slot}`
  return { id, userId, serverId, slot, version: Number(version), key }
}

/** Ends a tunnel. @returns the version in which nobody holds its slot */
export async function endTunnel(db: Db, { id }: Pick<Tunnel, 'id'>, reason = 'user'): Promise<number> {
  const { version } = await one(
    db<{ version: bigint }[]>`select version from end_connections(array[${id}]::uuid[], ${reason})`,
  )
  return Number(version)
}

/** An instance of the server with nothing but these routes, on loopback. */
export async function listen(scope: Scope, routes: readonly UpgradeRoute[]): Promise<string> {
  const upgrades = new Upgrades({ ALLOWED_HOSTS: [], CORS_ORIGINS: [], PUBLIC_URL: undefined }, silent)
  for (const route of routes) upgrades.add(route)
  const http = createServer((_req, res) => res.writeHead(404).end())
  upgrades.attach(http)
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  defer(scope, async () => {
    http.close()
    http.closeAllConnections()
    await upgrades.close()
  })
  return `ws://127.0.0.1:${(http.address() as AddressInfo).port}`
}

export type Instance = { links: NodeLinks; url: string }

/** An instance that holds links. */
export async function anInstance(
  scope: Scope,
  deps: { db: Sql; kv: Kv; registry: NodeRegistry; desired?: DesiredState; attempts?: Pick<Attempts, 'failed'> },
): Promise<Instance> {
  const { db, kv, registry, desired = desiredOf(db), attempts = uncountedAttempts } = deps
  const links = createNodeLinks({
    installation: INSTALLATION,
    db,
    kv,
    registry,
    desired,
    log: silent,
    attempts,
    callerOf: (req) => ({ address: req.socket.remoteAddress ?? '', network: null, ours: false }),
  })
  const url = await listen(scope, [links.route])
  await links.start()
  defer(scope, () => links.stop())
  return { links, url }
}

export function aNode(scope: Scope, registry: TestRegistry, identity: Identity, instanceUrl: string): FakeNode {
  registry.nodes.set(identity.nodeId, identity)
  const node = new FakeNode(`${instanceUrl}/api/v1/node/link`, identity, INSTALLATION)
  defer(scope, () => node.kill())
  node.start()
  return node
}
