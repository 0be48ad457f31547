import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { InjectOptions, LightMyRequestResponse } from 'fastify'
import { ROLES, type Role } from '../../accounts/index.ts'
import { parseConfig } from '../../platform/config/index.ts'
import { newId } from '../../platform/ids.ts'
import { memoryKv } from '../../platform/kv/index.ts'
import { createLog } from '../../platform/log.ts'
import { openapiDocument } from '../../platform/openapi/index.ts'
import { throwawaySecrets } from '../../platform/secrets.ts'
import { defer, freshDatabase, type Scope } from '../../platform/testing/index.ts'
import { readProtectionConfig } from '../../protection/index.ts'
import { buildRooms } from '../../rooms.ts'
import { buildApp, buildUpgrades } from '../../routes.ts'

const PASSWORD = 'a passphrase for the matrix'
const METHODS: Method[] = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
const UNPROTECTED = { RATE_LIMIT_ENABLED: 'false', DDOS_PROTECTION_ENABLED: 'false' }
const DAY_MS = 86_400_000
/** The nearest point of the curve with so many random bits: no 256th bit. */
const newKey = (): string => Buffer.concat([randomBytes(31), Buffer.of(7)]).toString('base64')

type Method = Extract<InjectOptions['method'], string>
export type Route = { method: Method; path: string }
export type Caller = Role | 'anonymous' | 'token:vpn' | 'token:account' | 'token:staff'

/** The whole server, without a port, with somebody of every role and a victim who owns one of everything. */
export async function openWorld(scope: Scope, protection: Record<string, string> = UNPROTECTED) {
  const { url, sql } = await freshDatabase(scope)
  const log = createLog('silent')
  // Billing on, with a Stripe that refuses everything: what is ours is judged, what needs Stripe fails.
  const stripe = { STRIPE_SECRET_KEY: 'sk_test_matrix', STRIPE_API_BASE: await refusingStripe(scope) }
  const config = parseConfig({ NODE_ENV: 'test', LOG_LEVEL: 'silent', ...stripe })
  const protecting = readProtectionConfig(protection).config
  const foundation = {
    sql,
    kv: memoryKv(),
    secrets: throwawaySecrets(),
    redis: undefined,
    database: { url, role: undefined },
    embedded: false,
    stop: async () => undefined,
  }
  const rooms = await buildRooms(config, protecting, foundation, log)
  const app = await buildApp(config, foundation, rooms, log, () => false)
  const upgrades = buildUpgrades(config, rooms, log)
  upgrades.attach(app.server)
  rooms.protection.shield(app.server)
  await app.ready()
  defer(scope, async () => {
    await upgrades.close()
    await rooms.billing.stop()
    await app.close()
    await rooms.protection.close()
    rooms.auth.close()
    rooms.mailer.close()
  })
  // Of all that a start begins only this is judged here: until then billing answers 503.
  await rooms.billing.start('http://127.0.0.1')

  const tokens = new Map<Caller, string>()
  const inject = (method: Method, target: string, body?: unknown, token?: string) =>
    app.inject({
      method,
      url: target,
      ...(token ? { headers: { authorization: `Bearer ${token}` } } : {}),
      ...(body === undefined ? {} : { payload: body as object }),
    })

  async function signIn(role: Role): Promise<void> {
    const answer = await inject('POST', '/api/v1/auth/login', { email: `${role}@example.com`, password: PASSWORD })
    tokens.set(role, answer.json<{ access_token: string }>().access_token)
  }
  async function makeToken(owner: Role, scopes: string[]): Promise<string> {
    const expires_at = new Date(Date.now() + DAY_MS).toISOString()
    const body = { name: 'matrix', scopes, expires_at }
    const answer = await inject('POST', '/api/v1/users/me/api-tokens', body, tokens.get(owner))
    return answer.json<{ token: string }>().token
  }

  for (const role of ROLES) {
    await inject('POST', '/api/v1/auth/register', { email: `${role}@example.com`, password: PASSWORD })
    await sql`update users set role = ${role}, is_verified = true where email = ${`${role}@example.com`}`
    await signIn(role)
  }
  tokens.set('token:vpn', await makeToken('user', ['vpn']))
  tokens.set('token:account', await makeToken('user', ['account']))
  tokens.set('token:staff', await makeToken('super_admin', ['staff']))

  const victim = await aVictim(sql, inject)
  return {
    app,
    sql,
    document: openapiDocument(app),
    tokenOf: (caller: Caller): string | undefined => tokens.get(caller),
    victim: victim.ids,
    stillThere: victim.stillThere,
    routes: routesOf(openapiDocument(app)),
    doors: doorsOf(app.printRoutes({ commonPrefix: false })),
    /** Calls as somebody; one whose session the call ended signs in again. */
    async call(caller: Caller, { method, path }: Route, body: unknown): Promise<LightMyRequestResponse> {
      const answer = await inject(method, path, method === 'GET' ? undefined : body, tokens.get(caller))
      if (path.includes('/logout') && ROLES.some((role) => role === caller)) await signIn(caller as Role)
      return answer
    },
  }
}

async function refusingStripe(scope: Scope): Promise<string> {
  const refusal = JSON.stringify({ error: { type: 'card_error', code: 'card_declined', message: 'refused' } })
  const server = createServer((_req, res) => {
    res.writeHead(402, { 'content-type': 'application/json', 'stripe-should-retry': 'false' }).end(refusal)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  defer(scope, async () => void server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Every route that the document leaves out, from the router's own drawing of its tree. */
function doorsOf(tree: string): string[] {
  const above: string[] = []
  return tree.split('\n').flatMap((line) => {
    const [, indent = '', part = '', methods] = /^([│ ]*)[├└]── (\S+)(?: \(([A-Z, ]+)\))?/.exec(line) ?? []
    above.splice(indent.length / 4, Infinity, part)
    const path = above.join('')
    if (methods === undefined || path.startsWith('/api/v1/') || path === '*') return []
    return methods.split(', ').map((method) => `${method} ${path}`)
  })
}

function routesOf(document: { [key: string]: unknown }): Route[] {
  const paths = document.paths as Record<string, Record<string, unknown>>
  return Object.entries(paths).flatMap(([path, operations]) =>
    METHODS.filter((method) => method.toLowerCase() in operations).map((method) => ({ path, method })),
  )
}

type World = Awaited<ReturnType<typeof freshDatabase>>['sql']
type Inject = (method: Method, url: string, body?: unknown, token?: string) => Promise<LightMyRequestResponse>

/** Somebody with one of everything, whose ids the others try. */
async function aVictim(sql: World, inject: Inject) {
  const email = 'victim@example.com'
  const { id: user } = (await inject('POST', '/api/v1/auth/register', { email, password: PASSWORD })).json<{
    id: string
  }>()
  const login = await inject('POST', '/api/v1/auth/login', { email, password: PASSWORD })
  const token = login.json<{ access_token: string }>().access_token
  const make = async (url: string, body: object): Promise<string> =>
    (await inject('POST', url, body, token)).json<{ id: string }>().id
  const device = await make('/api/v1/users/me/devices', { name: 'phone', platform: 'ios', public_key: newKey() })
  const expires_at = new Date(Date.now() + DAY_MS).toISOString()
  const apiToken = await make('/api/v1/users/me/api-tokens', { name: 'theirs', scopes: ['vpn'], expires_at })
  const [session] = await sql<{ id: string }[]>`select id from sessions where user_id = ${user}`
  const [passkey, connection, customer, payment, invoice, refund] = Array.from({ length: 6 }, newId) as [
    string,
    string,
    string,
    string,
    string,
    string,
  ]
  await sql`insert into passkeys (id, user_id, credential_id, public_key, name)
            values (${passkey}, ${user}, ${randomBytes(16)}, ${randomBytes(32)}, 'key')`
  await sql`insert into connections (id, user_id, user_slot, client_ip, client_public_key, lease_slot, lease_version)
            values (${connection}, ${user}, 0, '10.77.1.2', ${newKey()}, 2, 1)`
  await sql`insert into billing_customers (id, user_id) values (${customer}, ${user})`
  await sql`insert into payments (id, customer_id, stripe_payment_intent_id, stripe_charge_id, amount_minor, currency, status, paid_at)
            values (${payment}, ${customer}, 'pi_victim', 'ch_victim', 999, 'USD', 'paid', clock_timestamp())`
  await sql`insert into invoices (id, customer_id, stripe_invoice_id, status, total_minor, paid_minor, currency, period_start, period_end, created_at)
            values (${invoice}, ${customer}, 'in_victim', 'paid', 999, 999, 'USD', now(), now(), now())`
  await sql`insert into refunds (id, payment_id, customer_id, amount_minor, reason, status, by_user)
            values (${refund}, ${payment}, ${customer}, 100, 'because', 'succeeded', false)`
  const ids: Record<string, string> = {
    user_id: user,
    device_id: device,
    token_id: apiToken,
    session_id: session?.id ?? '',
    passkey_id: passkey,
    connection_id: connection,
    invoice_id: invoice,
    refund_id: refund,
    $connection: connection,
    $device: device,
    $payment: payment,
    $key: newKey(),
  }
  /** Nothing of the victim's was touched. */
  async function stillThere(): Promise<boolean> {
    const [row] = await sql<{ whole: boolean }[]>`
      select exists (select from devices where id = ${device})
         and exists (select from api_tokens where id = ${apiToken})
         and exists (select from sessions where id = ${session?.id ?? ''} and revoked_at is null)
         and exists (select from passkeys where id = ${passkey})
         and exists (select from connections where id = ${connection} and status = 'connected')
         and exists (select from users where id = ${user} and is_active and role = 'user') as whole`
    return row?.whole === true
  }
  return { ids, stillThere }
}
