import { randomUUID } from 'node:crypto'
import type { onRequestAsyncHookHandler } from 'fastify'
import { permissionsOf } from '../../accounts/index.ts'
import type { Principal } from '../../auth/index.ts'
import { parseConfig, type Env } from '../../platform/config/index.ts'
import type { Sql } from '../../platform/db/index.ts'
import { createApp, useIdempotency, type App } from '../../platform/http/index.ts'
import { startJobs } from '../../platform/jobs.ts'
import { createLog } from '../../platform/log.ts'
import type { Mail } from '../../platform/mail/index.ts'
import { throwawaySecrets } from '../../platform/secrets.ts'
import { defer, freshDatabase, type Scope } from '../../platform/testing/index.ts'
import { createBilling, type Billing } from '../create.ts'
import { StripeStandin } from '../standin/index.ts'
import type { State } from '../standin/store.ts'

// The tests look into answers of every route.
// oxlint-disable-next-line typescript/no-explicit-any
export type Answer = { status: number; body: any; headers: Record<string, unknown> }
export type Call = { role?: Principal['role']; key?: string; headers?: Record<string, string>; unverified?: boolean }

export type House = {
  sql: Sql
  owner: Sql
  app: App
  billing: Billing
  standin: StripeStandin
  mails: Mail[]
  /** Milliseconds since 1970 of the room and of the stand-in. */
  clock: { now(): number }
  /** Users whose entitlement was told to have changed. */
  changed: string[]
  badSignatures: number
  /** How many connections the next changes of an entitlement are said to end. */
  endedByChange: number
  /** Moves both clocks on, and does what time brings about. */
  days(n: number): Promise<void>
  /** Moves the room's clock alone: Stripe is late with what is due. */
  wait(n: number): void
  /** Waits until every event is delivered and every job is done. */
  settle(): Promise<void>
  call(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    url: string,
    user: string | null,
    body?: unknown,
    more?: Call,
  ): Promise<Answer>
  /** Stops the service and starts it anew, e.g. with the key and state of another account of Stripe. */
  restart(stripe?: { key: string; state: State }, env?: Env): Promise<void>
  /** One job, now. */
  run(job: string, payload?: unknown): Promise<void>
  user(): Promise<string>
  entitlement(user: string): Promise<{ plan_id: string; tier: string; expires_at: Date | null }>
}

/** Ahead of the database's clock, so that only what the room writes ends a plan; a fixed day, since months differ. */
const START = Date.UTC(2031, 2, 10, 12)

type Options = { env?: Env; off?: boolean; jobs?: boolean }

const principal = (userId: string, role: Principal['role'], isVerified: boolean): Principal => ({
  userId,
  sessionId: userId,
  role,
  permissions: permissionsOf(role),
  mustChangePassword: false,
  isVerified,
  entitlement: { planId: 'free', tier: 'free', maxDevices: 1, maxConnections: 1, expiresAt: null },
  sessionExpiresAt: new Date(8.64e15),
  credentialExpiresAt: new Date(8.64e15),
})

const authenticate: onRequestAsyncHookHandler = async (req) => {
  const { 'x-user': user, 'x-role': role = 'user', 'x-unverified': unverified } = req.headers
  if (typeof user === 'string') req.principal = principal(user, role as Principal['role'], unverified === undefined)
}

/** The room over a database of its own and a Stripe of its own, with a clock that only the test moves. */
export async function house(scope: Scope, { env = {}, off = false, jobs = true }: Options = {}): Promise<House> {
  const { sql, owner, url } = await freshDatabase(scope)
  let offset = 0
  const clock = { now: () => START + offset }
  const standin = await StripeStandin.start({ now: clock.now })
  defer(scope, () => standin.close())
  const log = createLog(process.env.TEST_LOG === '1' ? 'warn' : 'silent')
  const mails: Mail[] = []
  const changed: string[] = []
  const configOf = (more: Env) =>
    parseConfig({
      PUBLIC_URL: 'https://vpn.example.com',
      CORS_ORIGINS: 'https://app.example.com',
      ...(off
        ? {}
        : {
            STRIPE_SECRET_KEY: standin.apiKey,
            STRIPE_API_BASE: standin.base,
            STRIPE_WEBHOOK_SECRET: `whsec_old_and_rotated_out_soon,${standin.webhookSecret}`,
          }),
      ...env,
      ...more,
    })
  const house = { badSignatures: 0, endedByChange: 0 }
  let closing: (() => Promise<void>)[] = []
  const stop = async (): Promise<void> => {
    for (const close of closing.toReversed()) await close()
    closing = []
  }
  defer(scope, stop)

  async function open(more: Env): Promise<{ app: App; billing: Billing }> {
    const config = configOf(more)
    const billing = createBilling({
      db: sql,
      config,
      log,
      clock,
      publicUrl: 'https://vpn.example.com',
      mailer: { kind: 'outbox', send: async (mail) => void mails.push(mail), close: () => undefined },
      attempts: { failed: () => void house.badSignatures++ },
      async onEntitlementChanged(_tx, userId) {
        changed.push(userId)
        return house.endedByChange
      },
      homeCheckMs: 50,
    })
    const app = await createApp({ config, log, authenticate })
    closing.push(() => app.close())
    useIdempotency(app, sql, throwawaySecrets(), (req) => String(req.headers['x-user']))
    billing.routes(app)
    await app.listen({ host: '127.0.0.1', port: 0 })
    const address = app.server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    standin.delivery.to(`http://127.0.0.1:${address.port}/api/v1/payments/webhook`)
    closing.push(() => billing.stop())
    await billing.start(`http://127.0.0.1:${address.port}`)
    if (jobs) {
      const runner = await startJobs(url, undefined, billing.jobs, [], log)
      closing.push(() => runner.stop())
    }
    return { app, billing }
  }
  const opened = await open({})
  // First of all: a webhook under way while the app closes keeps its connection open for the keep-alive time.
  defer(scope, () => standin.delivery.close())
  const isIdle = async (): Promise<boolean> => {
    const rows = await owner`select from graphile_worker._private_jobs where attempts < 3 limit 1`
    return rows.length === 0
  }
  return Object.assign(house, {
    sql,
    owner,
    ...opened,
    standin,
    mails,
    clock,
    changed,
    async settle() {
      for (let quiet = 0; quiet < 2;) {
        await standin.delivery.idle()
        quiet = !jobs || (await isIdle()) ? quiet + 1 : 0
        if (quiet < 2) await new Promise((resolve) => setTimeout(resolve, 10))
      }
    },
    wait(n: number) {
      offset += n * 86_400_000
    },
    async days(n: number) {
      for (let left = n; left > 0; left -= 0.5) {
        const step = Math.min(0.5, left)
        offset += step * 86_400_000
        standin.advance(step * 86_400)
        await this.settle()
        await this.run('billing.lifecycle')
      }
      await this.settle()
    },
    async restart(stripe?: { key: string; state: State }, more: Env = {}) {
      await this.settle()
      await stop()
      if (stripe) {
        const { now } = standin.store.state
        standin.store.state = { ...stripe.state, now }
        standin.apiKey = stripe.key
      }
      Object.assign(this, await open({ STRIPE_SECRET_KEY: standin.apiKey, ...more }))
    },
    async run(job: string, payload?: unknown) {
      const work = this.billing.jobs[job]
      if (!work) throw new Error(`there is no job ${job}`)
      await work(payload)
    },
    async user() {
      const id = randomUUID()
      await sql`insert into users (id, email, is_verified) values (${id}, ${`${id}@example.com`}, true)`
      return id
    },
    async entitlement(user: string) {
      const [row] = await sql<{ plan_id: string; tier: string; expires_at: Date | null }[]>`
        select plan_id, tier, expires_at from entitlements where user_id = ${user}`
      if (!row) throw new Error('no such user')
      return row
    },
    async call(
      method: 'GET' | 'POST' | 'PUT' | 'DELETE',
      path: string,
      user: string | null,
      body?: unknown,
      { role = 'user', key, headers = {}, unverified }: Call = {},
    ): Promise<Answer> {
      const answer = await this.app.inject({
        method,
        url: `/api/v1${path}`,
        headers: {
          ...(user === null ? {} : { 'x-user': user, 'x-role': role }),
          ...(unverified ? { 'x-unverified': '1' } : {}),
          ...(key === undefined ? {} : { 'idempotency-key': key }),
          ...headers,
        },
        ...(body === undefined ? {} : { payload: body as object }),
      })
      return {
        status: answer.statusCode,
        body: answer.body === '' ? null : JSON.parse(answer.body),
        headers: answer.headers,
      }
    },
  })
}

export const URLS = {
  success_url: 'https://vpn.example.com/app/billing?ok',
  cancel_url: 'https://vpn.example.com/app/billing',
}

/** A user who paid on the hosted page. */
export async function aPayer(h: House, plan = 'premium_monthly'): Promise<string> {
  const user = await h.user()
  const { body } = await h.call('POST', '/payments/create', user, { plan_id: plan, ...URLS })
  if (!h.standin.pay(body.session_id)) throw new Error('the card was declined')
  await h.settle()
  return user
}
