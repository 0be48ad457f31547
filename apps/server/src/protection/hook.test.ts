import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { InjectOptions } from 'fastify'
import { protectedApp, type KitOptions } from './testing/kit.ts'
import { A, admittedOf, as, B, get, login } from './testing/requests.ts'

test('an address gets the limit and burst of the API rule, then 429 with the wait, and its headers say so all along', async (t) => {
  const kit = await protectedApp(t)
  const first = await kit.send(get('/api/v1/plans'))
  assert.equal(first.status, 200)
  assert.equal(first.headers['x-ratelimit-limit'], '80')
  assert.equal(first.headers['x-ratelimit-remaining'], '79')
  assert.equal(first.headers['ratelimit-policy'], '"api";q=80;w=60')
  assert.match(String(first.headers.ratelimit), /^"api";r=79;t=\d+$/)
  assert.equal(await admittedOf(kit, 100, () => get('/api/v1/plans')), 79)
  const refused = await kit.send(get('/api/v1/plans'))
  assert.equal(refused.code, 'RATE_LIMITED')
  assert.equal(refused.headers['x-ratelimit-remaining'], '0')
  assert.equal(refused.headers['retry-after'], refused.headers['x-ratelimit-reset'])
  const { retry_after } = (refused.body as { error: { retry_after: number } }).error
  assert.equal(String(retry_after), refused.headers['retry-after'])
  kit.clock.now += retry_after * 1000
  assert.equal((await kit.send(get('/api/v1/plans'))).status, 200)
})

test('alias, HEAD, a doubled slash and an absolute-form target share one counter', async (t) => {
  const kit = await protectedApp(t)
  const spellings = ['/plans', '//plans', '/api/v1//plans', 'http://other.example/api/v1/plans']
  for (const url of spellings) assert.equal((await kit.send(get(url))).status, 200, url)
  await kit.app.inject({ ...get('/api/v1/plans'), method: 'HEAD' })
  assert.equal((await kit.send(get('/plans'))).headers['x-ratelimit-remaining'], String(80 - 6))
})

test('login is limited by address whatever account is tried, and another address is not hurt', async (t) => {
  const kit = await protectedApp(t)
  assert.equal(await admittedOf(kit, 12, (i) => login(`user${i}@example.com`)), 7)
  assert.equal((await kit.send(login('user0@example.com', B))).status, 200)
})

test('failing for an account from one address does not keep its owner out at another', async (t) => {
  const kit = await protectedApp(t)
  assert.equal(await admittedOf(kit, 20, () => login('victim@example.com')), 7)
  assert.equal((await kit.send(login('Victim@Example.com', B))).status, 200)
})

test('a listed address is not counted by address, but its tries at one account are', async (t) => {
  const kit = await protectedApp(t, { env: { DDOS_WHITELIST_IPS: '198.51.100.0/24' } })
  assert.equal(await admittedOf(kit, 12, (i) => login(`user${i}@example.com`)), 12)
  assert.equal(await admittedOf(kit, 12, () => login('one@example.com')), 7)
  const forwarding = { ...login('user1@example.com'), headers: { 'x-forwarded-for': '192.0.2.1' } }
  assert.equal(await admittedOf(kit, 12, () => forwarding), 7, 'a listed peer that forwards is no longer listed')
})

test('password reset is limited by account from any number of addresses', async (t) => {
  const kit = await protectedApp(t)
  const forgot = (i: number) => login('owner@example.com', `192.0.2.${i}`, '/auth/forgot-password')
  assert.equal(await admittedOf(kit, 10, forgot), 4)
})

test('a login body that cannot be read counts against the address and is refused as what it is', async (t) => {
  const kit = await protectedApp(t)
  const broken = { ...login('x'), payload: '{"email":', headers: { 'content-type': 'application/json' } }
  const statuses = []
  for (let i = 0; i < 9; i++) statuses.push((await kit.send(broken)).status)
  assert.deepEqual(statuses, [400, 400, 400, 400, 400, 400, 400, 429, 429])
  const text = { ...login('x', B), payload: 'email', headers: { 'content-type': 'text/plain' } }
  assert.equal((await kit.send(text)).status, 415)
  const large = {
    ...login('x', B),
    payload: JSON.stringify({ email: 'x'.repeat(70_000) }),
    headers: { 'content-type': 'application/json' },
  }
  assert.equal((await kit.send(large)).status, 413)
  assert.equal((await kit.send(login('y@example.com', B))).headers['x-ratelimit-remaining'], '4')
})

test('a wrong method counts against the rule of its path, and is no failed attempt', async (t) => {
  const kit = await protectedApp(t)
  for (let i = 0; i < 7; i++) assert.equal((await kit.send(get('/auth/login'))).status, 405)
  assert.equal((await kit.send(get('/auth/login'))).status, 429)
  assert.equal((await kit.send(login('a@example.com'))).status, 429)
  assert.equal(kit.protection.state.suspicion.counted.size, 0)
})

test('a user is counted by user wherever from, by the rule of the route', async (t) => {
  const kit = await protectedApp(t)
  const connect = (i: number): InjectOptions => ({
    method: 'POST',
    url: '/vpn/connect',
    remoteAddress: `192.0.2.${i}`,
    headers: as('user-1'),
  })
  assert.equal(await admittedOf(kit, 40, connect), 25)
  assert.equal((await kit.send({ ...connect(1), headers: as('user-2') })).status, 200)
})

test('a forged or expired token buys no bucket: the address pays', async (t) => {
  const kit = await protectedApp(t, { env: { IP_RATE_LIMIT: '1000' } })
  const tokens = ['forged', 'expired', 'unknown-kid']
  assert.equal(await admittedOf(kit, 90, (i) => get('/me', A, as(tokens[i % 3] ?? ''))), 80)
})

test('a token on a public sign-in route is no way around the address', async (t) => {
  const kit = await protectedApp(t)
  const withToken = (i: number) => ({ ...login(`user${i}@example.com`), headers: as('attacker') })
  assert.equal(await admittedOf(kit, 12, withToken), 7)
})

test('calls that ask a signed-in user for the password are counted by user', async (t) => {
  const kit = await protectedApp(t)
  const change = (i: number): InjectOptions => ({
    method: 'PATCH',
    url: '/users/me/password',
    remoteAddress: `192.0.2.${i}`,
    payload: { a: 'b' },
    headers: as('user-1'),
  })
  assert.equal(await admittedOf(kit, 12, change), 7)
})

test('IPv6 counts by /64, and sign-in also by /48 at eight times the limit', async (t) => {
  const kit = await protectedApp(t)
  assert.equal(await admittedOf(kit, 12, (i) => login(`u${i}@example.com`, `2001:db8:1:1::${i + 1}`)), 7)
  assert.equal(await admittedOf(kit, 80, (i) => login(`v${i}@example.com`, `2001:db8:2:${i + 1}::1`)), 56)
})

test('above the global limit only addresses with more than ten requests in the minute are refused', async (t) => {
  const kit = await protectedApp(t, { env: { GLOBAL_RATE_LIMIT: '100' } })
  for (let i = 0; i < 100; i++) await kit.send(get('/plans', `192.0.2.${i % 20}`))
  for (let i = 0; i < 6; i++) await kit.send(get('/plans', A))
  assert.equal((await kit.send(get('/plans', A))).status, 200)
  for (let i = 0; i < 10; i++) await kit.send(get('/plans', B))
  const refused = await kit.send(get('/plans', B))
  assert.equal(refused.code, 'RATE_LIMITED')
  assert.equal((await kit.send(get('/health', B))).status, 200)
  assert.equal((await kit.send(get('/me', B, as('user-1')))).status, 200)
  kit.clock.now += Number(refused.headers['retry-after']) * 1000
  assert.equal((await kit.send(get('/plans', B))).status, 200)
})

test('countries: a denied one is 403, with an allow-list also an unknown one, private networks and health pass', async (t) => {
  const countryOf = () => 'DE'
  const denied = await protectedApp(t, { env: { GEO_DENY_COUNTRIES: 'de' }, countryOf })
  assert.equal((await denied.send(get('/plans'))).code, 'FORBIDDEN')
  assert.equal((await denied.send(get('/health'))).status, 200)
  assert.equal((await denied.send(get('/plans', '10.1.2.3'))).status, 200)
  const allowed = await protectedApp(t, { env: { GEO_ALLOW_COUNTRIES: '["FR","NL"]' }, countryOf: () => null })
  assert.equal((await allowed.send(get('/plans'))).code, 'FORBIDDEN')
})

test("another method on the webhook's path is 405, and counted", async (t) => {
  const kit = await protectedApp(t)
  for (const method of ['GET', 'PUT', 'DELETE'] as const) {
    const answer = await kit.send({ method, url: '/payments/webhook', remoteAddress: A })
    assert.equal(answer.status, 405, method)
    assert.equal(answer.headers.allow, 'POST')
    assert.notEqual(answer.headers['x-ratelimit-limit'], undefined)
  }
})

test('with RATE_LIMIT_ENABLED=false nothing is limited and no header tells of limits; bans hold', async (t) => {
  const kit = await protectedApp(t, { env: { RATE_LIMIT_ENABLED: 'false' } })
  const answers = await admittedOf(kit, 300, () => get('/plans'))
  assert.equal(answers, 300)
  assert.equal((await kit.send(get('/plans'))).headers['x-ratelimit-limit'], undefined)
  for (let i = 0; i < 200; i++) await kit.send(get('/plans'))
  assert.equal((await kit.send(get('/plans'))).code, 'IP_BANNED')
})

test('a caller known to be over its limit is refused without asking the limiter', async (t) => {
  const kit = await protectedApp(t)
  await admittedOf(kit, 81, () => get('/plans'))
  const { limiter } = kit.protection.state
  const take = t.mock.method(limiter, 'take')
  assert.equal((await kit.send(get('/plans'))).status, 429)
  assert.equal(take.mock.callCount(), 0)
})

test('all rules of a login are judged in one call', async (t) => {
  const kit = await protectedApp(t)
  const take = t.mock.method(kit.protection.state.limiter, 'take')
  await kit.send(login('a@example.com', '2001:db8::1'))
  assert.equal(take.mock.callCount(), 1)
  assert.deepEqual(
    take.mock.calls[0]?.arguments[0].map(({ rule }) => rule),
    ['IP', 'AUTH_LOGIN', 'AUTH_LOGIN'],
  )
})

test('of several rules that are used up the longest wait is told, also where it was not asked for yet', async (t) => {
  const kit = await protectedApp(t)
  assert.equal(await admittedOf(kit, 7, (i) => login(`user${i}@example.com`)), 7)
  assert.equal(await admittedOf(kit, 200, () => get('/plans')), 80)
  for (let i = 0; i < 3; i++) await kit.send(get('/health'))
  await admittedOf(kit, 20, () => get('/app/logo'))
  assert.equal((await kit.send(get('/app/logo'))).headers['x-ratelimit-limit'], '100')
  const refused = await kit.send(login('user0@example.com'))
  assert.deepEqual([refused.headers['x-ratelimit-limit'], refused.headers['retry-after']], ['7', '300'])
  kit.clock.now += 299_000
  assert.equal((await kit.send(login('user0@example.com'))).status, 429)
  kit.clock.now += 1_000
  assert.equal((await kit.send(login('user0@example.com'))).status, 200)
})

test('a refund of the last try is known to the memory of who is over', async (t) => {
  const kit = await protectedApp(t)
  const { attempts } = kit.protection
  const forgot = (i: number) => login('owner@example.com', `192.0.2.${i}`, '/auth/forgot-password')
  const refund = await attempts.spend('AUTH_PASSWORD_RESET', 'owner@example.com')
  assert.equal(await admittedOf(kit, 5, forgot), 3)
  await refund()
  assert.equal(await admittedOf(kit, 5, forgot), 1)
})

test('a spent try is given back by a success, and the crowd gets no more than one after the other', async (t) => {
  const kit = await protectedApp(t)
  const spent = await Promise.allSettled(
    Array.from({ length: 30 }, () => kit.protection.attempts.spend('AUTH_FACTOR', 'account')),
  )
  const got = spent.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  assert.equal(got.length, 10)
  await got[0]?.()
  await kit.protection.attempts.spend('AUTH_FACTOR', 'account')
  await assert.rejects(kit.protection.attempts.spend('AUTH_FACTOR', 'account'), { code: 'RATE_LIMITED' })
})

test('under load opens by ticket shrink by the tier of their user, as opens by token do', async (t) => {
  const tierOf = () => ({ userId: 'payer', tier: 'premium' as const })
  const kit = await protectedApp(t, { tierOf })
  await kit.send(get('/me', A, as('payer')))
  const { attempts, state } = kit.protection
  while (state.adaptive.step < 3) state.adaptive.observe({ loopDelayMs: 900, databaseMs: 5 })
  const opens = async (user: string) => {
    const asked = Array.from({ length: 10 }, () => attempts.spend('WEBSOCKET', user))
    return (await Promise.allSettled(asked)).filter(({ status }) => status === 'fulfilled').length
  }
  assert.deepEqual([await opens('payer'), await opens('other')], [4, 1])
  await Promise.all(Array.from({ length: 10 }, () => attempts.spend('AUTH_FACTOR', 'account')))
})

test('a refusal has the form of the routes it is on, whatever the caller says it accepts', async (t) => {
  const routes: KitOptions['routes'] = (app) =>
    void app.register(async (pages) => {
      pages.setErrorHandler((_error, _req, reply) => void reply.code(429).type('text/html').send('<p>Later.'))
      pages.get('/oauth/page', { config: { needs: 'public' } }, async () => ({}))
    })
  const kit = await protectedApp(t, { routes, env: { RATE_LIMIT_API: '1/60s+0' } })
  await kit.app.inject(get('/oauth/page'))
  for (const accept of ['application/json', 'text/html', '*/*']) {
    const page = await kit.app.inject(get('/oauth/page', A, { accept }))
    assert.deepEqual([page.statusCode, page.body], [429, '<p>Later.'], accept)
    assert.equal((await kit.send(get('/plans', A, { accept }))).code, 'RATE_LIMITED', accept)
  }
})
