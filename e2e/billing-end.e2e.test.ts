import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { createBilling } from '../apps/server/src/billing/index.ts'
import { StripeStandin } from '../apps/server/src/billing/standin/index.ts'
import { parseConfig } from '../apps/server/src/platform/config/index.ts'
import { openPool, type Sql } from '../apps/server/src/platform/db/index.ts'
import { createLog } from '../apps/server/src/platform/log.ts'
import { embeddedPostgresUrl } from '../apps/server/src/platform/postgres/index.ts'
import { enforceEntitlement } from '../apps/server/src/tunnels/index.ts'
import type { Connection, User } from './api.ts'
import { eventually } from './node-agent-process.ts'
import { HOST, World } from './world.ts'

const DAY_S = 86_400
/** From the commit that takes premium away to the node without the peer; what else runs on the machine may delay it. */
const GONE_MS = 5_000
const OURS = 'http://127.0.0.1:8000'
const URLS = { success_url: `${OURS}/ok`, cancel_url: `${OURS}/back` }

let world: World
let standin: StripeStandin
let sql: Sql

before(async () => {
  standin = await StripeStandin.start()
  standin.delivery.to(`${OURS}/api/v1/payments/webhook`)
  world = new World()
  await world.startServer({
    PUBLIC_URL: OURS,
    STRIPE_SECRET_KEY: standin.apiKey,
    STRIPE_API_BASE: standin.base,
    STRIPE_WEBHOOK_SECRET: standin.webhookSecret,
  })
  const server = await world.joinNode()
  await world.api.admin('PUT', `/admin/servers/${server}`, { tier: 'premium' })
  await world.startWeb()
  const database = await embeddedPostgresUrl(join(world.folder, 'data'))
  sql = openPool(database?.ownerUrl ?? assert.fail('the database does not run'))
})
after(async () => {
  await sql?.end()
  await world?.close()
  await standin?.close()
})

const must = <T>(user: User, method: string, path: string, body?: unknown): Promise<T> =>
  world.api.must<T>(method, path, user.token, body)

const planOf = async (user: User): Promise<string> =>
  (await must<{ plan: string }>(user, 'GET', '/subscriptions/status')).plan

/** Somebody who paid on the hosted page. */
async function aPayer(plan_id: string): Promise<User> {
  const user = await world.api.user()
  const { session_id } = await must<{ session_id: string }>(user, 'POST', '/payments/create', { plan_id, ...URLS })
  assert.ok(standin.pay(session_id))
  await eventually('the plan began', async () => (await planOf(user)) === plan_id)
  return user
}

const mailsOf = async (user: User): Promise<string[]> => {
  const [row] = await sql<{ email: string }[]>`select email from users where id = ${user.id}`
  const { data } = await world.api.admin<{ data: { subject: string }[] }>(
    'GET',
    `/admin/mail-outbox?to=${encodeURIComponent(row?.email ?? '')}`,
  )
  return data.map(({ subject }) => subject.split(' - ')[0] ?? subject)
}

const rowOf = async ({ connection_id }: Connection) => {
  const [row] = await sql<{ status: string; end_reason: string | null; ended_at: Date | null }[]>`
    select status, end_reason, ended_at from connections where id = ${connection_id}`
  return row
}

const isHeld = ({ assigned_ip }: Connection): boolean =>
  [...world.peers().values()].some(({ allowedIps }) => allowedIps.split(',').includes(`${assigned_ip}/32`))

/** What time alone brings about, as an instance sees it whose clock shows `at`. */
async function timeIs(at: Date): Promise<void> {
  const config = parseConfig({
    PUBLIC_URL: OURS,
    STRIPE_SECRET_KEY: standin.apiKey,
    STRIPE_API_BASE: standin.base,
  })
  const billing = createBilling({
    db: sql,
    config,
    log: createLog('silent'),
    clock: { now: () => at.getTime() },
    publicUrl: OURS,
    mailer: { kind: 'outbox', send: async () => undefined, close: () => undefined },
    attempts: { failed: () => undefined },
    onEntitlementChanged: async (tx, userId) => (await enforceEntitlement(tx, userId)).length,
  })
  await billing.jobs['billing.lifecycle']?.({})
}

/** A public key of a device that keeps its private one. */
const aKey = (): string =>
  generateKeyPairSync('x25519').publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('base64')

const endsOf = (frames: { type: string; connection_id: string; status?: string; reason?: string }[]) =>
  frames
    .filter(({ type, status }) => type === 'connection_status' && status === 'disconnected')
    .map(({ connection_id, reason }) => [connection_id, reason] as const)

test('a plan whose payment stays missing ends its premium tunnel after grace, and not before: node, socket, row, mail', async () => {
  const user = await aPayer('premium_monthly')
  const connection = await user.connect()
  const customer = world.customer(1)
  customer.up(connection.wg_config)
  assert.ok(customer.pings(HOST))
  const socket = await user.socket()

  await must(user, 'PUT', '/billing/payment-method', { payment_method_id: standin.card('declines') })
  standin.advance(32 * DAY_S)
  await eventually('the failed renewal is known', async () => (await mailsOf(user)).includes('Your payment failed'))
  const [owing] = await sql<{ status: string; grace_until: Date }[]>`
    select status, grace_until from subscriptions where user_id = ${user.id}`
  assert.equal(owing?.status, 'past_due')
  const graceEnds = owing.grace_until.getTime()
  await timeIs(new Date(graceEnds - 1_000))
  assert.ok(customer.pings(HOST), 'grace keeps the tunnel')
  assert.equal((await rowOf(connection))?.status, 'connected')
  assert.equal(await planOf(user), 'premium_monthly')

  await timeIs(new Date(graceEnds))
  const began = performance.now()
  await eventually('the node holds the peer no more', () => !isHeld(connection), GONE_MS)
  console.log(`the peer was gone ${Math.round(performance.now() - began)} ms after the plan lapsed`)
  assert.equal(customer.pings(HOST), false)
  await eventually('the socket hears why', () => endsOf(socket.frames).length > 0)
  assert.deepEqual(endsOf(socket.frames), [[connection.connection_id, 'plan_ended']])
  const row = await rowOf(connection)
  assert.deepEqual([row?.status, row?.end_reason, row?.ended_at instanceof Date], ['disconnected', 'plan_ended', true])
  await eventually('the mail came', async () => (await mailsOf(user)).includes('Your plan has ended'))
  assert.equal(await planOf(user), 'free')
  assert.ok((await user.tryConnect()).status >= 400, 'the premium server takes the free plan no more')
  socket.close()
})

test('a smaller plan ends the tunnels above its limit, the oldest first, and keeps the devices', async () => {
  await world.api.admin('POST', '/admin/plans', {
    id: 'premium_two',
    name: 'Premium Two',
    tier: 'premium',
    billing_period: 'monthly',
    prices: [{ currency: 'USD', amount: 5.99 }],
    max_devices: 2,
    max_connections: 2,
    streaming_support: true,
    features: [],
    trial_days: 0,
    position: 3,
    is_active: true,
  })
  const user = await aPayer('premium_monthly')
  const devices: string[] = []
  const tunnels: Connection[] = []
  const connectDevice = (device_id: string) => user.tryConnect({ device_id })
  for (const name of ['oldest', 'older', 'newer', 'newest']) {
    const body = { name, platform: 'linux', public_key: aKey() }
    const { id } = await must<{ id: string }>(user, 'POST', '/users/me/devices', body)
    devices.push(id)
    const { status, body: connection } = await connectDevice(id)
    assert.equal(status, 201)
    tunnels.push(connection)
  }
  const [oldest, older, newer, newest] = tunnels as [Connection, Connection, Connection, Connection]
  const socket = await user.socket()

  await must(user, 'PUT', '/subscriptions/change', { plan_id: 'premium_two' })
  await eventually('the node holds the two newest alone', () => !isHeld(oldest) && !isHeld(older), GONE_MS)
  assert.ok(isHeld(newer) && isHeld(newest))
  await eventually('the socket hears why', () => endsOf(socket.frames).length === 2)
  assert.deepEqual(
    new Map(endsOf(socket.frames)),
    new Map([oldest, older].map(({ connection_id }) => [connection_id, 'plan_ended'])),
  )
  assert.deepEqual([(await rowOf(oldest))?.end_reason, (await rowOf(newest))?.status], ['plan_ended', 'connected'])
  await eventually('the mail came', async () => (await mailsOf(user)).includes('Your plan has changed'))
  assert.equal((await mailsOf(user)).includes('Your plan has ended'), false)

  // The devices stay; one that has no tunnel gets one when there is room, and no other device comes in.
  const kept = await must<{ data: unknown[] }>(user, 'GET', '/users/me/devices')
  assert.equal(kept.data.length, 4)
  const more = await world.api.call('POST', '/users/me/devices', user.token, { name: 'more', platform: 'linux' })
  assert.deepEqual([more.status, more.body.error?.code], [403, 'DEVICE_LIMIT_REACHED'])
  const refused = await connectDevice(devices[0] ?? '')
  assert.deepEqual([refused.status, refused.body.error?.code], [403, 'CONNECTION_LIMIT_REACHED'])
  await user.disconnect(newest.connection_id)
  assert.equal((await connectDevice(devices[0] ?? '')).status, 201)
  assert.equal((await user.status()).length, 2)

  // Staff who make the plan smaller end tunnels of those who have it.
  await world.api.admin('PUT', '/admin/plans/premium_two', { max_connections: 1 })
  await eventually('the older of the two is gone', () => !isHeld(newer), GONE_MS)
  assert.equal((await rowOf(newer))?.end_reason, 'plan_ended')
  await eventually(
    'the second mail came',
    async () => (await mailsOf(user)).filter((subject) => subject === 'Your plan has changed').length === 2,
  )
  socket.close()
})
