import { randomBytes, randomUUID } from 'node:crypto'
import { generateKeyPair } from '@prime-vpn/wireguard'
import type { Sql } from '../../platform/db/index.ts'
import { createApp, useIdempotency, type App } from '../../platform/http/index.ts'
import { memoryKv, type Kv } from '../../platform/kv/index.ts'
import { createLog } from '../../platform/log.ts'
import { throwawaySecrets } from '../../platform/secrets.ts'
import { Forbidden, Unauthenticated } from '../../platform/errors.ts'
import { defer, type Scope } from '../../platform/testing/index.ts'
import { adminServerRoutes } from '../admin-routes.ts'
import { analyticsRoutes } from '../analytics-routes.ts'
import { enrollRoutes } from '../enroll-routes.ts'
import { createFleet, type Fleet } from '../fleet.ts'
import { serverRoutes } from '../routes.ts'

const log = createLog('silent')

export type House = {
  fleet: Fleet
  kv: Kv
  app: App
  /** Answers of the injected `rotateKey`, and whom it was asked for. */
  rotated: string[]
  linkUp: { value: boolean }
  /** Sends a request as somebody with these permissions (`x-may`). */
  call: (method: Method, url: string, body?: unknown, may?: string | null) => Promise<Answer>
}
export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
// The tests look into answers of every route.
// oxlint-disable-next-line typescript/no-explicit-any
export type Answer = { status: number; body: any; headers: Record<string, unknown> }

export const STAFF_ID = '019c0000-0000-7000-8000-000000000001'
export const STAFF = 'servers:read servers:admin-read servers:write'
export const CUSTOMER = 'servers:read'

/** A fleet with its routes over a database; who calls is said by a header. */
export async function house(scope: Scope, db: Sql, random?: () => number): Promise<House> {
  const kv = memoryKv()
  defer(scope, () => kv.close())
  const rotated: string[] = []
  const linkUp = { value: true }
  const rotateKey = async (id: string) => {
    rotated.push(id)
    return linkUp.value
  }
  const fleet = createFleet({
    db,
    kv,
    log,
    links: { rotateKey },
    vpnSubnet: '10.77.0.0/16',
    ...(random ? { random } : {}),
  })
  const app = await createApp({
    config: { ALLOWED_HOSTS: [], CORS_ORIGINS: [], PUBLIC_URL: undefined },
    log,
    // Fastify awaits it.
    authenticate: async (req) => {
      const { needs = '' } = req.routeOptions.config
      if (needs === 'public') return
      const may = req.headers['x-may']
      if (typeof may !== 'string') throw new Unauthenticated()
      if (!may.split(' ').includes(needs)) throw new Forbidden()
    },
  })
  defer(scope, () => app.close())
  useIdempotency(app, db, throwawaySecrets(), () => STAFF_ID)
  adminServerRoutes(app, { acts: fleet.acts, callerOf: () => ({ userId: STAFF_ID }) })
  serverRoutes(app, { fleet, tierOf: async (req) => (req.headers['x-tier'] === 'free' ? 'free' : 'premium') })
  analyticsRoutes(app, { fleet })
  enrollRoutes(app, { acts: fleet.acts })
  return {
    fleet,
    kv,
    app,
    rotated,
    linkUp,
    async call(method, url, body, may = STAFF) {
      const answer = await app.inject({
        method,
        url: `/api/v1${url}`,
        headers: may === null ? {} : { 'x-may': may },
        ...(body === undefined ? {} : { payload: body as object }),
      })
      const text = answer.body
      return { status: answer.statusCode, body: text === '' ? null : JSON.parse(text), headers: answer.headers }
    },
  }
}

let count = 0

/** A valid body of `POST /admin/servers`. */
export function aServer(more: Record<string, unknown> = {}): Record<string, unknown> {
  const n = ++count
  return {
    hostname: `node-${n}.vpn.example`,
    country: 'Germany',
    country_code: 'DE',
    city: 'Berlin',
    location: 'Berlin-1',
    endpoint: `node-${n}.vpn.example:51820`,
    ip_address: `192.0.2.${(n % 250) + 1}`,
    tier: 'free',
    ...more,
  }
}

export const publicKey = (): string => generateKeyPair().publicKey

/** A valid body of `POST /node/enroll`. */
export const anEnrolment = (token: string, more: Record<string, unknown> = {}): Record<string, unknown> => ({
  token,
  public_key: publicKey(),
  identity_key: randomBytes(32).toString('base64'),
  agent_version: '0.1.0',
  backend: 'userspace',
  ...more,
})

export type Node = { serverId: string; nodeId: string; linkId: string }

/** Adds a server and enrols a node for it. */
export async function enrolledServer(h: House, more: Record<string, unknown> = {}): Promise<Node> {
  const server = await h.call('POST', '/admin/servers', aServer(more))
  if (server.status !== 201) throw new Error(JSON.stringify(server.body))
  const { body } = await h.call('POST', `/admin/servers/${server.body.id}/enrollment-token`)
  const node = await h.call('POST', '/node/enroll', anEnrolment(body.token), null)
  return { serverId: server.body.id, nodeId: node.body.node_id, linkId: randomUUID() }
}

/** Adds a server whose node is linked: it takes tunnels. */
export async function liveServer(h: House, more: Record<string, unknown> = {}): Promise<Node> {
  const node = await enrolledServer(h, more)
  await h.fleet.markLinked(node.nodeId, { linkId: node.linkId, agentVersion: '0.1.0', backend: 'userspace' })
  return node
}

/** A user; free unless a plan is named. */
export async function aUser(db: Sql, plan?: string): Promise<string> {
  const id = randomUUID()
  await db`insert into users (id, email) values (${id}, ${`${id}@example.com`})`
  if (plan) {
    await db`insert into subscriptions (id, user_id, plan_id, plan_type, status, end_date)
             values (${randomUUID()}, ${id}, ${plan}, 'monthly', 'active', now() + interval '1 day')`
  }
  return id
}

export type Connected = { outcome: string; connection: string; slot: number; server: string }

/** Connects by the one statement. */
export async function connect(db: Sql, user: string, servers: string[], restSeconds = 0): Promise<Connected> {
  const rows = await db<Connected[]>`
    select outcome, connection, slot, server from connect_tunnel(
      ${randomUUID()}, ${user}, null, ${publicKey()}, true, ${randomBytes(32)}, ${servers}::uuid[],
      make_interval(secs => ${restSeconds}), interval '30 s')`
  const [row] = rows
  if (!row) throw new Error('no answer')
  return row
}

/** Ends a tunnel and lets the node confirm at once. */
export async function disconnect(db: Sql, connection: string): Promise<void> {
  const rows = await db<{ server_id: string; slot: number; version: bigint }[]>`
    select server_id, slot, version from end_connections(${[connection]}::uuid[], 'test')`
  for (const { server_id, slot, version } of rows)
    await db`select confirm_cleared(${server_id}, ${[slot]}::int[], ${[String(version)]}::text[]::bigint[])`
}
