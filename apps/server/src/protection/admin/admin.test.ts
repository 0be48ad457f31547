import assert from 'node:assert/strict'
import { after, test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { InjectOptions } from 'fastify'
import { freshDatabase } from '../../platform/testing/index.ts'
import { parseNetwork } from '../address/address.ts'
import { writeAutomatic } from '../bans/store.ts'
import { protectedApp, type KitOptions } from '../testing/kit.ts'
import { adminProtectionRoutes } from './routes.ts'

const db = await freshDatabase({ after })
const STAFF = '0198c0de-0000-7000-8000-000000000001'
const ADMIN_AT = '198.51.100.1'

async function admin(t: TestContext, env: Record<string, string> = {}, options: KitOptions = {}) {
  const kit = await protectedApp(t, {
    ...options,
    sql: db.sql,
    env: { RATE_LIMIT_API: '5000/60s', IP_RATE_LIMIT: '5000', DDOS_THRESHOLD: '9000', ...env },
    routes: (app, protection) =>
      adminProtectionRoutes(app, { protection, db: db.sql, callerOf: () => ({ userId: STAFF }) }),
  })
  const call = (method: InjectOptions['method'], url: string, payload?: object) =>
    kit.send({
      method: method ?? 'GET',
      url: `/admin${url}`,
      remoteAddress: ADMIN_AT,
      headers: { authorization: `Bearer ${STAFF}` },
      ...(payload ? { payload } : {}),
    })
  return { ...kit, call }
}

const audited = () =>
  db.owner<{ action: string; actor_id: string; subject_type: string; subject_id: string; request_id: string }[]>`
    select action, actor_id, subject_type, subject_id, request_id from audit_log order by id`

test('staff ban a network, see it, and lift it; it holds at once and every act is audited without an address', async (t) => {
  const { call, send } = await admin(t)
  const made = await call('POST', '/bans', { ip: '203.0.113.9/24', reason: 'fraud', duration_seconds: 600 })
  assert.equal(made.status, 201)
  const ban = made.body as { id: string; ip: string; kind: string; expires_at: string }
  assert.deepEqual([ban.ip, ban.kind], ['203.0.113.0/24', 'manual'])
  const there = { method: 'GET', url: '/plans', remoteAddress: '203.0.113.200' } as const
  assert.equal((await send(there)).code, 'IP_BANNED')
  const list = (await call('GET', '/bans?per_page=1')).body as { data: { id: string }[]; meta: { total: number } }
  assert.deepEqual([list.meta.total, list.data[0]?.id], [1, ban.id])
  assert.equal((await call('DELETE', '/bans/203.0.113.0%2F24')).status, 204)
  assert.equal((await send(there)).status, 200)
  assert.equal((await call('DELETE', '/bans/203.0.113.0%2F24')).status, 404)
  const rows = await audited()
  assert.deepEqual(
    rows.map(({ action, subject_id }) => [action, subject_id]),
    [
      ['ban.added', ban.id],
      ['ban.lifted', ban.id],
    ],
  )
  assert.ok(rows.every(({ actor_id, request_id }) => actor_id === STAFF && request_id.startsWith('req_')))
  assert.ok(!JSON.stringify(rows).includes('203.0.113'))
})

test('a lifted ban, or a reset, leaves no failed attempts behind', async (t) => {
  const { call, send } = await admin(t)
  const wrong = () => send({ method: 'GET', url: '/nothing', remoteAddress: '192.0.2.210' })
  for (let i = 0; i < 49; i++) await wrong()
  assert.equal((await call('DELETE', '/rate-limits/reset/192.0.2.210')).status, 204)
  assert.equal((await wrong()).status, 404)
  assert.equal((await wrong()).status, 404)
  for (let i = 0; i < 48; i++) await wrong()
  assert.equal((await wrong()).code, 'IP_BANNED')
  const lift = async () => (await call('DELETE', '/bans/192.0.2.210')).status
  while ((await lift()) !== 204) await sleep(20)
  for (let i = 0; i < 49; i++) assert.equal((await wrong()).status, 404)
  assert.equal((await call('POST', '/bans', { ip: '192.0.2.210', reason: 'x' })).status, 201)
  assert.equal(await lift(), 204)
  assert.equal((await wrong()).status, 404)
  assert.equal((await wrong()).status, 404)
})

test('an address of a banned block is told the block, and lifting it lifts what came by itself, not what staff made', async (t) => {
  const { call, send, protection } = await admin(t)
  const at = (url: string) => send({ method: 'GET', url, remoteAddress: '2001:db8:f:1::1' })
  const written = (text: string) => writeAutomatic(db.sql, parseNetwork(text) ?? assert.fail(), 'x', 600)
  for (const text of ['2001:db8:f:1::/64', '2001:db8:f:2::/64', '2001:db8:f:3::/64'])
    for (const news of await written(text)) protection.state.bans.apply(news)
  const status = async () =>
    (await call('GET', '/rate-limits/status/2001:db8:f:1::1')).body as { banned: boolean; banned_block: string | null }
  assert.equal((await at('/plans')).code, 'IP_BANNED')
  assert.equal((await status()).banned_block, '2001:db8:f:1::/64')
  assert.equal((await call('DELETE', '/bans/2001:db8:f:1::1')).status, 204)
  assert.equal((await at('/plans')).status, 200)
  assert.deepEqual([(await status()).banned, (await status()).banned_block], [false, null])
  assert.equal((await call('POST', '/bans', { ip: '2001:db8:f::/48', reason: 'x' })).status, 201)
  const refused = await call('DELETE', '/bans/2001:db8:f:1::1')
  assert.equal(refused.status, 404)
  assert.match((refused.body as { error: { message: string } }).error.message, /2001:db8:f::\/48/)
  assert.equal((await at('/plans')).code, 'IP_BANNED')
  assert.equal((await call('DELETE', '/bans/2001:db8:f::%2F48')).status, 204)
})

test('who floods again is told at once how long the longer ban is', async (t) => {
  const { send } = await admin(t, { DDOS_THRESHOLD: '50' })
  const flood = async () => {
    for (let i = 0; i < 49; i++) await send({ method: 'GET', url: '/plans', remoteAddress: '192.0.2.200' })
    return send({ method: 'GET', url: '/plans', remoteAddress: '192.0.2.200' })
  }
  await db.owner`insert into bans (network, id, reason, kind, until)
    values ('192.0.2.200', gen_random_uuid(), 'x', 'automatic', clock_timestamp() - interval '1 hour')`
  const refused = await flood()
  assert.deepEqual([refused.code, refused.headers['retry-after']], ['IP_BANNED', '7200'])
})

test("the caller's own address, a proxy's and everybody's cannot be banned", async (t) => {
  const { call } = await admin(t, { TRUSTED_PROXIES: '10.9.0.0/16' })
  for (const ip of [
    ADMIN_AT,
    '198.51.100.0/24',
    '10.9.1.1',
    '10.0.0.0/8',
    '0.0.0.0/0',
    '::/0',
    '203.0.0.0/7',
    'nonsense',
    '',
  ]) {
    const { status, code } = await call('POST', '/bans', { ip, reason: 'x' })
    assert.deepEqual([status, code], [400, 'INVALID_INPUT'], ip)
  }
  assert.equal((await call('DELETE', '/bans/nonsense')).status, 404)
})

test('the status of an address tells each rule without counting; a reset forgets', async (t) => {
  const { call, send } = await admin(t)
  const login = () =>
    send({ method: 'POST', url: '/auth/login', remoteAddress: '192.0.2.1', payload: { email: 'a@example.com' } })
  for (let i = 0; i < 8; i++) await login()
  type Status = { banned: boolean; rules: { endpoint: string; remaining: number; used: number; retry_after: number }[] }
  const status = async (query = '') => (await call('GET', `/rate-limits/status/192.0.2.1${query}`)).body as Status
  const first = await status('?endpoint=auth_login')
  assert.equal(first.rules.length, 1)
  assert.deepEqual([first.rules[0]?.remaining, first.rules[0]?.used], [0, 7])
  assert.ok((first.rules[0]?.retry_after ?? 0) > 0)
  assert.deepEqual(await status('?endpoint=auth_login'), first)
  assert.deepEqual(
    (await status()).rules.map(({ endpoint }) => endpoint),
    ['auth_login', 'auth_register', 'auth_password_reset', 'api', 'ip'],
  )
  assert.equal((await login()).status, 429)
  assert.equal((await call('DELETE', '/rate-limits/reset/192.0.2.1?endpoint=auth_login')).status, 204)
  assert.equal((await login()).status, 200)
  assert.equal((await call('GET', '/rate-limits/status/192.0.2.1?endpoint=AUTH_LOGIN')).status, 400)
  assert.equal((await call('GET', '/rate-limits/status/192.0.2.1?endpoint=global')).status, 400)
  assert.equal((await call('GET', '/rate-limits/status/nobody')).status, 404)
})

test('an IPv6 address is shown with its /48', async (t) => {
  const { call } = await admin(t)
  const { rules } = (await call('GET', '/rate-limits/status/2001:db8::1?endpoint=auth_login')).body as {
    rules: { scope: string; limit: number }[]
  }
  assert.deepEqual(
    rules.map(({ scope, limit }) => [scope, limit]),
    [
      ['address', 7],
      ['network', 56],
    ],
  )
})

test('the status tells the limits in force there: wider for a fleet address, lower under load', async (t) => {
  const { call, protection } = await admin(t, { RATE_LIMIT_API: '60/60s+20' }, { fleet: () => ['2001:db8:3::1'] })
  const limits = async (ip: string) => {
    const { rules } = (await call('GET', `/rate-limits/status/${ip}`)).body as {
      rules: { endpoint: string; scope: string; limit: number }[]
    }
    const of = (name: string, scope = 'address') => rules.find((r) => r.endpoint === name && r.scope === scope)?.limit
    return [of('auth_login'), of('auth_login', 'network'), of('api')]
  }
  assert.deepEqual(await limits('2001:db8:4::1'), [7, 56, 80])
  assert.deepEqual(await limits('2001:db8:3::1'), [28, 224, 1_600])
  for (let i = 0; i < 2; i++) protection.state.adaptive.observe({ loopDelayMs: 1_000 + i, databaseMs: null })
  assert.equal(protection.state.adaptive.step, 1)
  const [login, , api] = await limits('2001:db8:4::1')
  const factor = protection.state.adaptive.factor('anonymous')
  assert.deepEqual([login, api], [7, Math.floor(60 * factor) + Math.floor(20 * factor)])
})

test('stats tell violations by rule and endpoint, offenders, bans and what the protection costs', async (t) => {
  const { call, send } = await admin(t)
  for (let i = 0; i < 9; i++)
    await send({ method: 'POST', url: '/auth/login', remoteAddress: '192.0.2.77', payload: { email: 'a@example.com' } })
  const { status, body } = await call('GET', '/rate-limits/stats')
  assert.equal(status, 200)
  const stats = body as {
    violations: { total: number; by_rule: Record<string, number> }
    by_endpoint: { endpoint: string; violations: number }[]
    top_offenders: { ip: string }[]
    overhead: { requests: number; p50_us: number; p99_us: number }
  }
  assert.deepEqual([stats.violations.total, stats.violations.by_rule.AUTH_LOGIN], [2, 2])
  assert.deepEqual(stats.by_endpoint, [{ endpoint: '/api/v1/auth/login', violations: 2 }])
  assert.equal(stats.top_offenders[0]?.ip, '192.0.2.77')
  assert.ok(stats.overhead.requests >= 9 && stats.overhead.p99_us >= stats.overhead.p50_us && stats.overhead.p50_us > 0)
})

test('the configuration is shown as it is in force', async (t) => {
  const { call } = await admin(t, { RATE_LIMIT_AUTH_LOGIN: '9/2m+1' })
  const { rules } = (await call('GET', '/rate-limits/config')).body as { rules: { endpoint: string; text: string }[] }
  assert.equal(rules.find(({ endpoint }) => endpoint === 'auth_login')?.text, '9/120s+1')
})

test('the audit log is listed, filtered, and takes no change from the service', async (t) => {
  const { call } = await admin(t)
  await call('DELETE', '/rate-limits/reset/192.0.2.1')
  const { data, meta } = (await call('GET', `/audit-log?action=rate_limit.reset&actor_id=${STAFF}`)).body as {
    data: { action: string; subject_id: string }[]
    meta: { total: number }
  }
  assert.equal(data.length, meta.total)
  assert.deepEqual([data[0]?.action, data[0]?.subject_id], ['rate_limit.reset', 'all'])
  await assert.rejects(db.sql`delete from audit_log`, /permission denied/)
  await assert.rejects(db.sql`update audit_log set action = 'x'`, /permission denied/)
})
