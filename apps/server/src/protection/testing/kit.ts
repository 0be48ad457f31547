import type { IncomingMessage } from 'node:http'
import { PassThrough } from 'node:stream'
import type { InjectOptions } from 'fastify'
import type { Redis } from 'ioredis'
import { z } from 'zod'
import { createApp, type App } from '../../platform/http/index.ts'
import { memoryKv, type Kv } from '../../platform/kv/index.ts'
import { createLog, type Log } from '../../platform/log.ts'
import { throwawaySecrets, type Secrets } from '../../platform/secrets.ts'
import { openPool, type Sql } from '../../platform/db/index.ts'
import { defer, type Scope } from '../../platform/testing/index.ts'
import { readProtectionConfig } from '../config.ts'
import { createProtection, type Protection, type ProtectionDeps } from '../protection.ts'
import type { Identity } from '../identity.ts'

export type Kit = {
  app: App
  protection: Protection
  /** Moves both clocks. */
  clock: { now: number }
  /** What was logged, as JSON lines. */
  logged: string[]
  send(
    options: InjectOptions,
  ): Promise<{ status: number; code: string | undefined; headers: Record<string, unknown>; body: unknown }>
}

export type KitOptions = {
  env?: Record<string, string>
  http?: { CORS_ORIGINS?: string[]; PUBLIC_URL?: string }
  sql?: Sql
  kv?: Kv
  redis?: Redis
  secrets?: Secrets
  fleet?: () => string[]
  countryOf?: ProtectionDeps['countryOf']
  tierOf?: ProtectionDeps['tierOf']
  /** More routes. */
  routes?: (app: App, protection: Protection) => void
  realTime?: boolean
  log?: Log
}

/** `Bearer user-7` is a token whose signature holds; `Bearer forged`, `expired`, `unknown-kid` are what they say. */
export function identifyForTests(req: IncomingMessage): Identity {
  const token = /^Bearer (.+)$/.exec(req.headers.authorization ?? '')?.[1]
  if (token === undefined) return null
  if (token === 'forged' || token === 'expired' || token === 'unknown-kid') return token
  return { userId: token }
}

function linesLog(logged: string[]): Log {
  const to = new PassThrough()
  to.on('data', (line: Buffer) => logged.push(line.toString()))
  return createLog('info', to)
}

const ok = { response: { 200: z.object({ ok: z.boolean() }) } }
const answer = async () => ({ ok: true })
const Login = z.strictObject({ email: z.string(), password: z.string().optional() })

function testRoutes(app: App): void {
  app.get('/health', { config: { needs: 'public', rule: 'HEALTH' }, schema: ok }, answer)
  app.get('/app/logo', { config: { needs: 'public', rule: 'STATIC' }, schema: ok }, answer)
  app.get('/api/v1/plans', { config: { needs: 'public' }, schema: ok }, answer)
  app.get('/api/v1/me', { config: { needs: 'me:read' }, schema: ok }, answer)
  app.post('/api/v1/vpn/connect', { config: { needs: 'vpn:use', rule: 'VPN_CONNECT' }, schema: ok }, answer)
  const login = { config: { needs: 'public', rule: 'AUTH_LOGIN' }, schema: { ...ok, body: Login } }
  app.post('/api/v1/auth/login', login, answer)
  const forgot = { config: { needs: 'public', rule: 'AUTH_PASSWORD_RESET' }, schema: { ...ok, body: Login } }
  app.post('/api/v1/auth/forgot-password', forgot, answer)
  const password = {
    config: { needs: 'me:secure', rule: 'AUTH_LOGIN' },
    schema: { ...ok, body: z.object({ a: z.string() }) },
  }
  app.patch('/api/v1/users/me/password', password, answer)
  const webhook = { config: { needs: 'public', rule: 'WEBHOOK' }, schema: { ...ok, body: z.object({}) } }
  app.post('/api/v1/payments/webhook', webhook, answer)
}

/** An app with the protection in front, clocks that stand still, and a pool that is never used unless given. */
export async function protectedApp(scope: Scope, options: KitOptions = {}): Promise<Kit> {
  const { config, faults } = readProtectionConfig(options.env ?? {})
  if (faults.length > 0) throw new Error(faults.join('\n'))
  const clock = { now: Date.UTC(2026, 10, 24, 12) }
  const logged: string[] = []
  const log = options.log ?? linesLog(logged)
  const http = { CORS_ORIGINS: [], PUBLIC_URL: undefined, ALLOWED_HOSTS: [], APP_NAME: 'Prime', ...options.http }
  const kv = options.kv ?? memoryKv()
  const sql = options.sql ?? openPool('postgres://nobody@127.0.0.1:1/none', { max: 1 })
  const time = options.realTime ? {} : { clock: { now: () => clock.now }, now: () => clock.now }
  const protection = createProtection({
    config,
    http,
    log,
    kv,
    sql,
    redis: options.redis,
    secrets: options.secrets ?? throwawaySecrets(),
    identify: identifyForTests,
    fleetAddresses: options.fleet ?? (() => []),
    countryOf: options.countryOf ?? null,
    ...(options.tierOf && { tierOf: options.tierOf }),
    ...time,
  })
  const app = await createApp({ config: http, log, protect: protection.protect })
  protection.attach(app)
  testRoutes(app)
  options.routes?.(app, protection)
  protection.shield(app.server)
  await app.ready()
  defer(scope, async () => {
    await app.close()
    await protection.close()
    if (!options.kv) await kv.close()
    if (!options.sql) await sql.end({ timeout: 0 })
  })
  return {
    app,
    protection,
    clock,
    logged,
    async send(request) {
      const got = await app.inject(request)
      const body = got.body === '' ? undefined : got.json<{ error?: { code?: string } }>()
      return { status: got.statusCode, code: body?.error?.code, headers: got.headers, body }
    },
  }
}
