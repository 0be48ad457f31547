/**
 * Billing on a durable database: how fast a webhook is acknowledged under a steady stream of signed events over HTTP,
 * how long it takes from the event to premium (with the local Stripe stand-in), and what the entitlement check costs on
 * the connect path. `node bench/billing.bench.ts [events per second] [seconds]`
 */
import { randomUUID } from 'node:crypto'
import { Agent, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { createBilling } from '../apps/server/src/billing/index.ts'
import { signatureOf, StripeStandin } from '../apps/server/src/billing/standin/index.ts'
import { parseConfig } from '../apps/server/src/platform/config/index.ts'
import { migrateUp, openPool, type Sql } from '../apps/server/src/platform/db/index.ts'
import { startEmbeddedPostgres } from '../apps/server/src/platform/postgres/index.ts'
import { createApp } from '../apps/server/src/platform/http/index.ts'
import { startJobs } from '../apps/server/src/platform/jobs.ts'
import { createLog } from '../apps/server/src/platform/log.ts'
import { median, quantile } from './durable-database.ts'

const RATE = Number(process.argv[2] ?? 500)
const SECONDS = Number(process.argv[3] ?? 10)
const PURCHASES = 30

/** One event in ten is about a customer of ours, and worked on meanwhile. */
type Order = { port: number; secret: string; rate: number; seconds: number; customers: string[] }

function sendEvent(agent: Agent, { port, secret, customers }: Order, n: number): Promise<number> {
  const body = JSON.stringify({
    id: `evt_${randomUUID()}`,
    object: 'event',
    type: 'invoice.paid',
    created: Math.floor(Date.now() / 1000),
    livemode: false,
    data: {
      object: {
        id: `in_${n}`,
        object: 'invoice',
        customer: n % 10 === 0 ? customers[(n / 10) % customers.length] : `cus_${n % 2_000}`,
      },
    },
  })
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'stripe-signature': signatureOf(body, secret, Math.floor(Date.now() / 1000)),
  }
  const began = performance.now()
  return new Promise((resolve, reject) => {
    const req = request({ agent, port, method: 'POST', path: '/api/v1/payments/webhook', headers }, (res) => {
      res
        .resume()
        .on('end', () =>
          res.statusCode === 200 ? resolve(performance.now() - began) : reject(new Error(String(res.statusCode))),
        )
    })
    req.on('error', reject).end(body)
  })
}

/** Open loop: events leave on time whatever the answers do, so that waiting is not hidden. */
async function stream(order: Order): Promise<number[]> {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  const sent: Promise<number>[] = []
  const began = performance.now()
  const total = order.rate * order.seconds
  while (sent.length < total) {
    const due = Math.min(total, Math.floor(((performance.now() - began) / 1000) * order.rate))
    while (sent.length < due) sent.push(sendEvent(agent, order, sent.length))
    await sleep(1)
  }
  const times = await Promise.all(sent)
  agent.destroy()
  return times
}

const streamInWorker = (order: Order): Promise<number[]> =>
  new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url))
    worker.once('error', reject).once('message', (times: number[]) => {
      void worker.terminate()
      resolve(times)
    })
    // A thread's port takes no origin.
    // oxlint-disable-next-line unicorn/require-post-message-target-origin
    worker.postMessage(order)
  })

const aUser = async (sql: Sql): Promise<string> => {
  const id = randomUUID()
  await sql`insert into users (id, email) values (${id}, ${`${id}@example.com`})`
  return id
}

async function eventToPremium(sql: Sql, port: number, standin: StripeStandin): Promise<number[]> {
  const times: number[] = []
  for (let n = 0; n < PURCHASES; n++) {
    const user = await aUser(sql)
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/payments/create`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-user': user },
      body: JSON.stringify({
        plan_id: 'premium_monthly',
        success_url: 'http://localhost/',
        cancel_url: 'http://localhost/',
      }),
    })
    const { session_id } = (await answer.json()) as { session_id: string }
    const began = performance.now()
    standin.pay(session_id)
    for (;;) {
      const [row] = await sql`select from entitlements where user_id = ${user} and tier = 'premium'`
      if (row) break
      await sleep(2)
    }
    times.push(performance.now() - began)
  }
  return times
}

async function entitlementCheck(sql: Sql): Promise<number[]> {
  await sql`insert into users (id, email) select gen_random_uuid(), 'b' || n || '@example.com' from generate_series(1, 20000) n`
  await sql`
    insert into subscriptions (id, user_id, plan_id, plan_type, status, end_date)
    select gen_random_uuid(), id, 'premium_monthly', 'monthly', 'active', now() + interval '20 days' from users
     where email like 'b%' and email like '%0@example.com' on conflict do nothing`
  await sql`analyze users`.catch(() => undefined)
  const users = await sql<{ id: string }[]>`select id from users limit 2000`
  const times: number[] = []
  for (const { id } of users) {
    const began = performance.now()
    await sql`select * from entitlements where user_id = ${id}`
    times.push(performance.now() - began)
  }
  return times
}

const show = (what: string, times: number[]): void =>
  console.log(
    `${what}: n=${times.length} p50=${median(times).toFixed(2)} p99=${quantile(times, 0.99).toFixed(2)} max=${Math.max(...times).toFixed(2)} ms`,
  )

/** On disk, with fsync and synchronous commit as in production. */
async function withDatabase(use: (db: { sql: Sql; owner: Sql; url: string }) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'prime-bench-'))
  const log = { info() {}, warn: console.warn, error: console.error }
  const postgres = await startEmbeddedPostgres({ dataDir: folder, log })
  await migrateUp(postgres.ownerUrl)
  const owner = openPool(postgres.ownerUrl, { max: 4 })
  const sql = openPool(postgres.appUrl, { max: 10 })
  try {
    await use({ sql, owner, url: postgres.appUrl })
  } finally {
    await Promise.all([sql.end({ timeout: 1 }), owner.end({ timeout: 1 })])
    await postgres.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

async function main(): Promise<void> {
  await withDatabase(async ({ sql, owner, url }) => {
    const standin = await StripeStandin.start()
    const config = parseConfig({
      STRIPE_SECRET_KEY: standin.apiKey,
      STRIPE_API_BASE: standin.base,
      STRIPE_WEBHOOK_SECRET: standin.webhookSecret,
    })
    const log = createLog('silent')
    const billing = createBilling({
      db: sql,
      config,
      log,
      publicUrl: 'http://localhost',
      mailer: { kind: 'off', send: async () => undefined, close: () => undefined },
      attempts: { failed: () => undefined },
      onEntitlementChanged: async () => 0,
    })
    const app = await createApp({
      config,
      log,
      authenticate: async (req) => {
        const { 'x-user': user } = req.headers
        if (typeof user === 'string') req.principal = { userId: user, isVerified: true } as never
      },
    })
    app.decorateRequest('idempotency', null)
    billing.routes(app)
    await app.listen({ host: '127.0.0.1', port: 0 })
    const { port } = app.server.address() as AddressInfo
    standin.delivery.to(`http://127.0.0.1:${port}/api/v1/payments/webhook`)
    await billing.start(`http://127.0.0.1:${port}`)
    const jobs = await startJobs(url, undefined, billing.jobs, [], log)
    show('event to premium', await eventToPremium(sql, port, standin))
    const rows = await sql<{ id: string }[]>`select stripe_customer_id as id from billing_customers`
    const customers = rows.map(({ id }) => id)
    show(
      `acknowledged at ${RATE}/s`,
      await streamInWorker({ port, secret: standin.webhookSecret, rate: RATE, seconds: SECONDS, customers }),
    )
    const [left] = await owner`select count(*)::int as n from billing_events where applied_at is null`
    console.log(`events not applied at the end of the stream: ${left?.n}`)
    show('entitlement check, one round trip', await entitlementCheck(owner))
    await billing.stop()
    await jobs.stop()
    await app.close()
    await standin.close()
  })
}

if (isMainThread) await main()
else
  parentPort?.once('message', (order: Order) => {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin
    void stream(order).then((times) => parentPort?.postMessage(times))
  })
