/**
 * `POST /vpn/connect` over HTTP (token, session, validation, statement, conf) with a node that confirms at once, against
 * the bare statement it runs, at 1 and 32 clients, in interleaved rounds on a durable database. The clients of the HTTP
 * side run in a worker of their own. `node bench/connect.bench.ts [connects] [rounds]`
 */
import { randomUUID } from 'node:crypto'
import { Agent, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { createAuth } from '../apps/server/src/auth/index.ts'
import { createAccessTokens } from '../apps/server/src/auth/token/access.ts'
import { tokenKeys } from '../apps/server/src/auth/token/keys.ts'
import { createFleet } from '../apps/server/src/fleet/index.ts'
import { systemClock } from '../apps/server/src/platform/clock.ts'
import { parseConfig } from '../apps/server/src/platform/config/index.ts'
import type { Sql } from '../apps/server/src/platform/db/index.ts'
import { createApp } from '../apps/server/src/platform/http/index.ts'
import { newId } from '../apps/server/src/platform/ids.ts'
import { memoryKv } from '../apps/server/src/platform/kv/index.ts'
import { createLog } from '../apps/server/src/platform/log.ts'
import { createMailer } from '../apps/server/src/platform/mail/index.ts'
import { throwawaySecrets } from '../apps/server/src/platform/secrets.ts'
import { claimTunnel } from '../apps/server/src/tunnels/claim-store.ts'
import { tunnelRoutes } from '../apps/server/src/tunnels/index.ts'
import { sealPsk } from '../apps/server/src/tunnels/psk.ts'
import { generateKeyPair, generatePresharedKey } from '../packages/wireguard/src/index.ts'
import { median, quantile, race, withDurableDatabase } from './durable-database.ts'

const CONNECTS = Number(process.argv[2] ?? 1_000)
const ROUNDS = Number(process.argv[3] ?? 5)
const USERS = 200
const URL_BASE = 'http://127.0.0.1:8000'

type Order = { port: number; tokens: string[]; clients: number; total: number }
type Result = { wall: number; each: number[] }

function connectOverHttp(agent: Agent, port: number, token: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'content-length': 2 }
    const req = request({ agent, port, method: 'POST', path: '/api/v1/vpn/connect', headers }, (res) => {
      res.resume().on('end', () => (res.statusCode === 201 ? resolve() : reject(new Error(String(res.statusCode)))))
    })
    req.on('error', reject).end('{}')
  })
}

function serveOrders(): void {
  const agent = new Agent({ keepAlive: true })
  parentPort?.on('message', ({ port, tokens, clients, total }: Order) => {
    void race(clients, total, (n) => connectOverHttp(agent, port, tokens[n % tokens.length] ?? '')).then((result) =>
      // A thread's port takes no origin.
      // oxlint-disable-next-line unicorn/require-post-message-target-origin
      parentPort?.postMessage(result),
    )
  })
}

const order = (worker: Worker, what: Order): Promise<Result> =>
  new Promise((resolve, reject) => {
    worker.once('message', resolve).once('error', reject)
    // oxlint-disable-next-line unicorn/require-post-message-target-origin
    worker.postMessage(what)
  })

async function aFleet(owner: Sql): Promise<void> {
  await owner`update plans set max_connections = 1000 where id = 'premium_monthly'`
  for (let n = 0; n < 4; n++) {
    const id = randomUUID()
    await owner`
      insert into vpn_servers (id, hostname, country, country_code, city, location, ip_address, endpoint, public_key, status,
                               max_connections, subnet_v4, subnet_v6)
      values (${id}, ${`bench-${n}.example`}, 'Germany', 'DE', 'Berlin', ${`Berlin-${n}`}, ${`192.0.2.${n + 1}`},
              ${`192.0.2.${n + 1}:51820`}, ${generateKeyPair().publicKey}, 'active', 4000, ${`10.${64 + n}.0.0/16`},
              ${`fd00:${n + 64}::/64`})`
    await owner`insert into nodes (id, server_id, identity_key, backend, agent_version, link_id, linked_at, last_seen_at)
                values (${randomUUID()}, ${id}, ${Buffer.alloc(32, n)}, 'kernel', 'bench', ${randomUUID()}, now(), now() + interval '1 day')`
    await owner`select create_leases(${id})`
  }
}

async function someUsers(owner: Sql): Promise<{ userId: string; sessionId: string }[]> {
  return Promise.all(
    Array.from({ length: USERS }, async () => {
      const [userId, sessionId] = [newId(), newId()]
      await owner`insert into users (id, email, is_verified) values (${userId}, ${`${userId}@example.com`}, true)`
      await owner`insert into subscriptions (id, user_id, plan_id, plan_type, status)
                  values (${newId()}, ${userId}, 'premium_monthly', 'monthly', 'active')`
      await owner`insert into sessions (id, user_id, kind, idle_expires_at, expires_at)
                  values (${sessionId}, ${userId}, 'token', now() + interval '1 day', now() + interval '1 day')`
      return { userId, sessionId }
    }),
  )
}

/** Every tunnel ends and its address is free and rested again. */
async function clear(owner: Sql): Promise<void> {
  await owner`delete from connections`
  await owner`update leases set state = 'reserve', free_at = '-infinity' where state = 'clearing'`
  await owner`delete from wireguard_keys`
  await owner.unsafe('vacuum analyze leases, connections, wireguard_keys')
}

async function bench(): Promise<void> {
  const worker = new Worker(new URL(import.meta.url)).setMaxListeners(0)
  await withDurableDatabase(async ({ sql, owner }) => {
    await aFleet(owner)
    const users = await someUsers(owner)
    await owner.unsafe('vacuum analyze')
    const config = parseConfig({ LOG_LEVEL: 'silent' })
    const [secrets, kv, log] = [throwawaySecrets(), memoryKv(), createLog('silent')]
    const mailer = createMailer(config, { db: sql, secrets, publicUrl: URL_BASE })
    const subscriptionOf = async () => ({ status: 'active' as const, expiry: null })
    const auth = await createAuth({
      db: sql,
      kv,
      secrets,
      config,
      log,
      publicUrl: URL_BASE,
      mailer,
      ends: [],
      subscriptionOf,
    })
    const fleet = createFleet({ db: sql, kv, log, links: { rotateKey: async () => true }, vpnSubnet: '10.77.0.0/16' })
    await fleet.start()
    const app = await createApp({ config, log, authenticate: auth.authenticate })
    app.decorateRequest('idempotency', null)
    tunnelRoutes(app, {
      db: sql,
      kv,
      log,
      secrets,
      fleet,
      nodeLink: { live: async () => 'live', gone: async () => ({ final: null }), wake() {} },
      live: { read: (keys) => keys.map(() => null), watch() {} },
      settings: {
        dns: ['1.1.1.1'],
        connectTimeoutMs: 5_000,
        restSeconds: 0,
        idleHours: 24,
        requireVerifiedEmail: false,
      },
      clientAddress: () => '198.51.100.1',
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { port } = app.server.address() as AddressInfo
    const issuer = createAccessTokens(tokenKeys(config, secrets), URL_BASE, 3600, systemClock)
    const tokens = await Promise.all(users.map(async (user) => (await issuer.issue({ ...user, role: 'user' })).token))

    const bare = (n: number) => {
      const connectionId = newId()
      return claimTunnel(sql, {
        connectionId,
        userId: users[n % USERS]?.userId ?? '',
        deviceId: null,
        publicKey: keys[n] ?? '',
        generated: true,
        sealedPsk: sealed,
        candidates: fleet.candidates({ tier: 'premium' }).ids,
        restSeconds: 0,
        overlapMs: 30_000,
      })
    }
    const keys = Array.from({ length: CONNECTS }, () => generateKeyPair().publicKey)
    const sealed = sealPsk(secrets, newId(), generatePresharedKey())

    console.log(`${CONNECTS} connects of ${USERS} users to 4 servers, ${ROUNDS} interleaved rounds, medians\n`)
    console.log('clients  bare/s  p50 ms  p99 ms   HTTP/s  p50 ms  p99 ms  ratio  CPU us bare  CPU us HTTP')
    for (const clients of [1, 32]) {
      const figures = { bare: [] as Result[], http: [] as Result[], cpuBare: [] as number[], cpuHttp: [] as number[] }
      const total = clients === 1 ? Math.ceil(CONNECTS / 4) : CONNECTS
      await order(worker, { port, tokens, clients, total })
      for (let round = 0; round < ROUNDS; round++) {
        await clear(owner)
        const a = process.threadCpuUsage()
        figures.bare.push(await race(clients, total, bare))
        const used = process.threadCpuUsage(a)
        figures.cpuBare.push((used.user + used.system) / total)
        await clear(owner)
        const b = process.threadCpuUsage()
        figures.http.push(await order(worker, { port, tokens, clients, total }))
        const spent = process.threadCpuUsage(b)
        figures.cpuHttp.push((spent.user + spent.system) / total)
      }
      const rate = (results: Result[]) => median(results.map(({ wall }) => (total * 1000) / wall))
      const ms = (results: Result[], share: number) =>
        quantile(
          results.flatMap(({ each }) => each),
          share,
        )
          .toFixed(1)
          .padStart(7)
      const [x, y] = [rate(figures.bare), rate(figures.http)]
      console.log(
        `${String(clients).padStart(7)} ${x.toFixed(0).padStart(7)} ${ms(figures.bare, 0.5)} ${ms(figures.bare, 0.99)} ` +
          `${y.toFixed(0).padStart(8)} ${ms(figures.http, 0.5)} ${ms(figures.http, 0.99)} ${(y / x).toFixed(2).padStart(6)} ` +
          `${median(figures.cpuBare).toFixed(0).padStart(12)} ${median(figures.cpuHttp).toFixed(0).padStart(12)}`,
      )
    }
    await app.close()
    await fleet.stop()
    auth.close()
    mailer.close()
    await kv.close()
  })
  await worker.terminate()
}

if (isMainThread) await bench()
else serveOrders()
