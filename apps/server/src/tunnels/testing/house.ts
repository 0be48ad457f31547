import { randomBytes, randomUUID } from 'node:crypto'
import type { onRequestAsyncHookHandler } from 'fastify'
import { generateKeyPair } from '@prime-vpn/wireguard'
import { permissionsOf } from '../../accounts/index.ts'
import type { Principal } from '../../auth/index.ts'
import { createFleet, type Fleet } from '../../fleet/index.ts'
import { one, type Sql } from '../../platform/db/index.ts'
import { createApp, useIdempotency, type App } from '../../platform/http/index.ts'
import { memoryKv, type Kv } from '../../platform/kv/index.ts'
import { createLog } from '../../platform/log.ts'
import { throwawaySecrets } from '../../platform/secrets.ts'
import { defer, freshDatabase, type Scope } from '../../platform/testing/index.ts'
import { adminTunnelRoutes } from '../admin-routes.ts'
import type { LiveKey, LiveSample, TunnelDeps, TunnelSettings } from '../deps.ts'
import { deviceTunnelRoutes } from '../device-routes.ts'
import { tunnelRoutes } from '../routes.ts'
import { createTunnels, type Tunnels } from '../tunnels.ts'

/** A node that answers as told: `live` confirms all, `dead` nothing, `broken` says that it failed. */
export class FakeNode {
  mode: 'live' | 'dead' | 'broken' = 'live'
  readonly woken: string[] = []
  readonly asked: { slot: number; version: number }[] = []
  /** What the next questions hear, in their order, before `mode` counts again. */
  readonly script: Promise<'live' | 'failed' | 'timeout'>[] = []
  private readonly db: Sql
  constructor(db: Sql) {
    this.db = db
  }
  async live(_server: string, slot: number, version: number, timeoutMs: number) {
    this.asked.push({ slot, version })
    const scripted = this.script.shift()
    if (scripted) return scripted
    if (this.mode === 'live') return 'live' as const
    if (this.mode === 'broken') return 'failed' as const
    await new Promise((resolve) => setTimeout(resolve, timeoutMs))
    return 'timeout' as const
  }
  async gone(server: string, slot: number, version: number) {
    if (this.mode !== 'live') return 'timeout' as const
    await this.db`select confirm_cleared(${server}, ${[slot]}::int[], ${[version]}::bigint[])`
    return { final: null }
  }
  wake(server: string): void {
    this.woken.push(server)
  }
}

export type House = {
  sql: Sql
  owner: Sql
  kv: Kv
  fleet: Fleet
  node: FakeNode
  app: App
  deps: TunnelDeps
  tunnels: Tunnels
  watched: LiveKey[]
  samples: Map<string, LiveSample>
  /** Sends a request as this user; by himself without staff rights. */
  call(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    url: string,
    user: string | null,
    body?: unknown,
    more?: CallOptions,
  ): Promise<Answer>
}
export type CallOptions = { headers?: Record<string, string>; role?: Principal['role']; unverified?: boolean }
// The tests look into answers of every route.
// oxlint-disable-next-line typescript/no-explicit-any
export type Answer = { status: number; body: any; headers: Record<string, unknown> }

const SETTINGS: TunnelSettings = {
  dns: ['1.1.1.1', '1.0.0.1'],
  connectTimeoutMs: 200,
  restSeconds: 0,
  idleHours: 24,
  requireVerifiedEmail: false,
}

async function principal(sql: Sql, userId: string, { role = 'user', unverified }: CallOptions): Promise<Principal> {
  const row = await one(sql<
    { tier: 'free' | 'premium'; plan_id: string; max_devices: number; max_connections: number }[]
  >`
    select tier, plan_id, max_devices, max_connections from entitlements where user_id = ${userId}`)
  return {
    userId,
    sessionId: userId,
    role,
    permissions: permissionsOf(role),
    mustChangePassword: false,
    isVerified: !unverified,
    entitlement: {
      planId: row.plan_id,
      tier: row.tier,
      maxDevices: row.max_devices,
      maxConnections: row.max_connections,
      expiresAt: null,
    },
    sessionExpiresAt: new Date(8.64e15),
    credentialExpiresAt: new Date(8.64e15),
  }
}

/** The room over a database of its own, with a real fleet and a node that is not there. */
export async function house(scope: Scope, settings: Partial<TunnelSettings> = {}): Promise<House> {
  const { sql, owner } = await freshDatabase(scope)
  const kv = memoryKv()
  defer(scope, () => kv.close())
  const log = createLog('silent')
  const fleet = createFleet({ db: sql, kv, log, links: { rotateKey: async () => true }, vpnSubnet: '10.77.0.0/16' })
  const node = new FakeNode(sql)
  const secrets = throwawaySecrets()
  const watched: LiveKey[] = []
  const samples = new Map<string, LiveSample>()
  const deps: TunnelDeps = {
    db: sql,
    kv,
    log,
    secrets,
    fleet,
    nodeLink: node,
    live: {
      read: (keys) => keys.map((key) => samples.get(key.connectionId) ?? null),
      watch: (keys) => void watched.push(...keys),
    },
    settings: { ...SETTINGS, ...settings },
    clientAddress: (req) => String(req.headers['x-from'] ?? '198.51.100.7'),
  }
  const authenticate: onRequestAsyncHookHandler = async (req) => {
    const { 'x-user': user, 'x-role': role, 'x-unverified': unverified } = req.headers
    if (typeof user !== 'string') return
    req.principal = await principal(sql, user, {
      role: role as Principal['role'],
      unverified: unverified !== undefined,
    })
  }
  const app = await createApp({
    config: { ALLOWED_HOSTS: [], CORS_ORIGINS: [], PUBLIC_URL: undefined },
    log,
    // Fastify awaits it.
    // oxlint-disable-next-line typescript/no-misused-promises
    authenticate,
  })
  defer(scope, () => app.close())
  useIdempotency(app, sql, secrets, (req) => String(req.headers['x-user']))
  tunnelRoutes(app, deps)
  adminTunnelRoutes(app, deps)
  deviceTunnelRoutes(app, { ...deps, publicUrl: 'https://vpn.example.com' })
  const tunnels = createTunnels(deps)
  return {
    sql,
    owner,
    kv,
    fleet,
    node,
    app,
    deps,
    tunnels,
    watched,
    samples,
    async call(method, url, user, body, { headers = {}, role = 'user', unverified = false } = {}) {
      const answer = await app.inject({
        method,
        url: url.startsWith('/sub/') ? url : `/api/v1${url}`,
        headers: {
          ...(user === null ? {} : { 'x-user': user, 'x-role': role, ...(unverified ? { 'x-unverified': '1' } : {}) }),
          ...headers,
        },
        ...(body === undefined ? {} : { payload: body as object }),
      })
      return {
        status: answer.statusCode,
        body: String(answer.headers['content-type']).startsWith('application/json')
          ? JSON.parse(answer.body)
          : answer.body,
        headers: answer.headers,
      }
    },
  }
}

export const publicKey = (): string => generateKeyPair().publicKey

/** A user on this plan. */
export async function aUser(sql: Sql, plan: 'free' | 'premium_monthly' = 'free'): Promise<string> {
  const id = randomUUID()
  await sql`insert into users (id, email) values (${id}, ${`${id}@example.com`})`
  if (plan !== 'free')
    await sql`insert into subscriptions (id, user_id, plan_id, plan_type, status, end_date)
              values (${randomUUID()}, ${id}, ${plan}, 'monthly', 'active', now() + interval '30 days')`
  return id
}

const count = { devices: 0, servers: 0 }
/** A device of the user. @param key null for none */
export async function aDevice(sql: Sql, user: string, key: string | null = publicKey()): Promise<string> {
  const id = randomUUID()
  if (key !== null) await sql`insert into wireguard_keys (public_key, user_id) values (${key}, ${user})`
  await sql`insert into devices (id, user_id, slot, name, platform, public_key)
            values (${id}, ${user}, ${count.devices++ % 30_000}, 'Laptop', 'linux', ${key})`
  return id
}

/** A server with its leases; takes tunnels once the fleet has looked. */
export async function aServer(
  sql: Sql,
  { max = 250, tier = 'free', prefix = 22 }: { max?: number; tier?: 'free' | 'premium'; prefix?: number } = {},
): Promise<string> {
  const id = randomUUID()
  const n = ++count.servers
  const part = prefix >= 22 ? `10.${100 + (n >> 6)}.${(n & 63) * 4}.0/${prefix}` : `10.${n}.0.0/${prefix}`
  await sql`
    insert into vpn_servers (id, hostname, country, country_code, city, location, ip_address, endpoint, public_key, status,
                             tier, max_connections, subnet_v4, subnet_v6)
    values (${id}, ${`node-${n}.vpn.example`}, 'Germany', 'DE', 'Berlin', ${`Berlin-${n}`}, ${`192.0.2.${n % 250}`},
            ${`node-${n}.vpn.example:51820`}, ${publicKey()}, 'active', ${tier}, ${max}, ${part}, ${`fd00:${n.toString(16)}::/64`})`
  await sql`insert into nodes (id, server_id, identity_key, backend, agent_version, link_id, linked_at, last_seen_at)
            values (${randomUUID()}, ${id}, ${randomBytes(32)}, 'userspace', '0.1.0', ${randomUUID()}, now(), now())`
  await sql`select create_leases(${id})`
  return id
}

/** A house with one server that takes tunnels. */
export async function houseWithServer(scope: Scope, settings: Partial<TunnelSettings> = {}) {
  const h = await house(scope, settings)
  const server = await aServer(h.sql)
  await h.fleet.refresh()
  return { ...h, server }
}

/** Sends a call and stops it where it waits for the node. @returns what the node then says, which gives the answer */
export async function heldUp({ node }: House, send: () => Promise<Answer>) {
  const said = Promise.withResolvers<'live' | 'timeout'>()
  node.script.push(said.promise)
  const asked = node.asked.length
  const answer = send()
  while (node.asked.length === asked) await new Promise((resolve) => setTimeout(resolve, 2))
  return async (state: 'live' | 'timeout'): Promise<Answer> => {
    said.resolve(state)
    return answer
  }
}
