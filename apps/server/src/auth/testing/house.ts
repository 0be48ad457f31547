import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { InjectOptions, LightMyRequestResponse } from 'fastify'
import { accountRoutes, type AccessEnd, type Role } from '../../accounts/index.ts'
import { deviceRoutes, endDevices } from '../../devices/index.ts'
import { subscriptionOf } from '../../entitlements/index.ts'
import { meRoutes, privacyJobs } from '../../me/index.ts'
import type { Attempts } from '../../platform/attempts.ts'
import { parseConfig } from '../../platform/config/index.ts'
import type { Clock } from '../../platform/clock.ts'
import { createApp, useIdempotency, type App } from '../../platform/http/index.ts'
import { startJobs } from '../../platform/jobs.ts'
import { memoryKv, type Kv } from '../../platform/kv/index.ts'
import { createLog, type Log } from '../../platform/log.ts'
import { createMailer, mailOutboxRoutes, readOutbox, type KeptMail } from '../../platform/mail/index.ts'
import { throwawaySecrets, type Secrets } from '../../platform/secrets.ts'
import { defer, freshDatabase, type FreshDatabase, type Scope } from '../../platform/testing/index.ts'
import { createAuth, principalOf, usePrincipals, type Auth } from '../index.ts'

export const PUBLIC_URL = 'http://127.0.0.1:8000'
export const PASSWORD = 'correct horse battery'

export type House = {
  database: FreshDatabase
  app: App
  auth: Auth
  kv: Kv
  secrets: Secrets
  ends: AccessEnd[]
  call(method: InjectOptions['method'], url: string, options?: CallOptions): Promise<LightMyRequestResponse>
  register(email: string, password?: string): Promise<LightMyRequestResponse>
  login(email: string, password?: string): Promise<LightMyRequestResponse>
  /** A registered account, signed in. */
  member(email: string): Promise<Member>
  /** Gives a role behind the API's back; the member signs in again. */
  staff(email: string, role: Role): Promise<Member>
  /** The mails to an address once there are `count` of them, newest first. */
  mails(to: string, count: number): Promise<KeptMail[]>
  /** Mails to an address with this subject, once there is one. */
  mailed(to: string, subject: string): Promise<KeptMail[]>
}
export type Member = { id: string; email: string; token: string; refresh: string }
export type CallOptions = { body?: unknown; token?: string; headers?: Record<string, string> }

export type HouseOptions = {
  env?: Record<string, string>
  clock?: Clock
  /** Runs the job queue too, so that mails arrive. */
  jobs?: boolean
  /** Hears of failed attempts. */
  attempts?: Partial<Attempts>
  /** Failed passwords in a row before a sign-in also needs a mailed code. */
  failuresAllowed?: number
  /** Where requests come from. */
  countryOf?: (req: IncomingMessage) => string | null
  /** Silent unless given. */
  log?: Log
  /** A second instance of the same installation. */
  beside?: House
}

/** The rooms around sign-in on a real database, as the composition root puts them together. */
export async function openHouse(scope: Scope, options: HouseOptions = {}): Promise<House> {
  const config = parseConfig({ NODE_ENV: 'test', LOG_LEVEL: 'silent', ...options.env })
  const log = options.log ?? createLog('silent')
  const database = options.beside?.database ?? (await freshDatabase(scope))
  const kv = options.beside?.kv ?? memoryKv()
  const secrets = options.beside?.secrets ?? throwawaySecrets()
  const db = database.sql
  const ends: AccessEnd[] = [endDevices]
  const mailer = createMailer(config, { db, secrets, publicUrl: PUBLIC_URL })
  const auth = await createAuth({
    db,
    kv,
    secrets,
    config,
    log,
    publicUrl: PUBLIC_URL,
    mailer,
    ends,
    ...(options.attempts ? { attempts: options.attempts } : {}),
    ...(options.failuresAllowed ? { failuresAllowed: options.failuresAllowed } : {}),
    ...(options.countryOf ? { countryOf: options.countryOf } : {}),
    ...(options.clock ? { clock: options.clock } : {}),
    async subscriptionOf(userId) {
      const { status, end_date } = await subscriptionOf(db, userId)
      return { status, expiry: end_date }
    },
  })
  const app = await createApp({ config, log, authenticate: auth.authenticate })
  usePrincipals(app)
  useIdempotency(app, db, secrets, (req) => principalOf(req).userId)
  auth.routes(app)
  accountRoutes(app, { db, ends, userIdOf: (req) => principalOf(req).userId })
  deviceRoutes(app, { db })
  meRoutes(app, { db, secrets, ends, auth })
  mailOutboxRoutes(app, { db, secrets, config, publicUrl: PUBLIC_URL })
  await app.ready()
  defer(scope, () => app.close())
  if (options.jobs) {
    const jobs = await startJobs(
      database.url,
      undefined,
      { ...auth.jobs, ...privacyJobs({ db, secrets, ends, auth }).jobs },
      [],
      log,
    )
    defer(scope, () => jobs.stop())
  }

  async function mailsOnce(to: string, enough: (mails: KeptMail[]) => boolean): Promise<KeptMail[]> {
    for (let i = 0; i < 200; i++) {
      const { mails } = await readOutbox({ db, secrets }, { page: 1, per_page: 100 }, to)
      if (enough(mails)) return mails
      await sleep(25)
    }
    throw new Error(`the mails to ${to} did not come`)
  }

  const house: House = {
    database,
    app,
    auth,
    kv,
    secrets,
    ends,
    call: (method, url, { body, token, headers } = {}) =>
      app.inject({
        method: method ?? 'GET',
        url,
        headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
        ...(body === undefined ? {} : { payload: body as object }),
      }),
    register: (email, password = PASSWORD) =>
      house.call('POST', '/api/v1/auth/register', { body: { email, password } }),
    login: (email, password = PASSWORD) => house.call('POST', '/api/v1/auth/login', { body: { email, password } }),
    async member(email) {
      await house.register(email)
      const body = (await house.login(email)).json<LoginBody>()
      return { id: body.user.id, email, token: body.access_token, refresh: body.refresh_token }
    },
    async staff(email, role) {
      await house.register(email)
      await db`update users set role = ${role}, is_verified = true where email = ${email}`
      const body = (await house.login(email)).json<LoginBody>()
      return { id: body.user.id, email, token: body.access_token, refresh: body.refresh_token }
    },
    mails: (to, count) => mailsOnce(to, (mails) => mails.length >= count),
    async mailed(to, subject) {
      const about = (mails: KeptMail[]) => mails.filter((mail) => mail.subject.startsWith(subject))
      return about(await mailsOnce(to, (mails) => about(mails).length > 0))
    },
  }
  return house
}

export type LoginBody = {
  access_token: string
  token_type: string
  expires_in: number
  refresh_token: string
  user: { id: string; email: string; role: string; subscription_status: string; subscription_expiry: string | null }
  password_change_required?: boolean
}

/** Two houses as two instances of one installation: same database, secrets and bus. */
export async function openTwoInstances(scope: Scope): Promise<[House, House]> {
  const first = await openHouse(scope)
  return [first, await openHouse(scope, { beside: first })]
}
