import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { InjectOptions } from 'fastify'
import { refusePlainCalls, unaskedRoutes } from '../platform/http/index.ts'
import { openapiRoutes } from '../platform/openapi/index.ts'
import { protectedApp, type KitOptions } from './testing/kit.ts'
import { A, admittedOf, as, B, get, login } from './testing/requests.ts'

// Who is held to be an attacker, who is not, and what happens then.

test('an OPTIONS that is no preflight is a wrong method like any other, and an unknown path stays one', async (t) => {
  const kit = await protectedApp(t)
  const ask = (url: string) => kit.send({ ...get(url), method: 'OPTIONS' })
  for (let i = 0; i < 7; i++) assert.equal((await ask('/auth/login')).status, 405)
  assert.equal((await kit.send(login('a@example.com'))).status, 429)
  assert.equal(kit.protection.state.suspicion.counted.size, 0)
  for (let i = 0; i < 50; i++) assert.equal((await ask(`/nothing-${i}`)).status, 404)
  assert.equal((await kit.send(get('/plans'))).code, 'IP_BANNED')
})

test('500 requests in a minute ban the address, refused ones included; another address goes on', async (t) => {
  const kit = await protectedApp(t)
  const codes = []
  for (let i = 0; i < 501; i++) codes.push((await kit.send(get('/plans'))).code)
  assert.equal(codes[498], 'RATE_LIMITED')
  assert.equal(codes[499], 'IP_BANNED')
  const banned = await kit.send(get('/health'))
  assert.equal(banned.code, 'IP_BANNED')
  assert.equal(banned.headers['retry-after'], '3600')
  assert.equal((await kit.send(get('/plans', B))).status, 200)
  kit.clock.now += 3_600_000
  assert.equal((await kit.send(get('/plans'))).status, 200)
})

test('50 unknown paths ban the address; 401, 403, 405, 429 and bad bodies do not', async (t) => {
  const env = { IP_RATE_LIMIT: '10000', RATE_LIMIT_API: '5000/60s', DDOS_THRESHOLD: '100000' }
  const kit = await protectedApp(t, { env })
  for (let i = 0; i < 60; i++) {
    await kit.send(get('/me', B, as('expired')))
    await kit.send({ ...get('/plans', B), method: 'DELETE' })
    await kit.send(login('', B))
  }
  assert.notEqual((await kit.send(get('/plans', B))).code, 'IP_BANNED')
  for (let i = 0; i < 49; i++) assert.equal((await kit.send(get(`/wp-login-${i}.php`))).status, 404)
  assert.equal((await kit.send(get('/.env'))).status, 404)
  assert.equal((await kit.send(get('/plans'))).code, 'IP_BANNED')
})

test('a path that cannot be decoded is an unknown one: limited, and a failed attempt', async (t) => {
  const limited = await protectedApp(t, { env: { SUSPICIOUS_ACTIVITY_THRESHOLD: '1000' } })
  const first = await limited.send(get('/%zz'))
  assert.deepEqual([first.status, first.headers['x-ratelimit-remaining']], [400, '79'])
  assert.equal(await admittedOf(limited, 90, () => get('/api/v1/vpn/%zz')), 79)
  const kit = await protectedApp(t)
  for (let i = 0; i < 50; i++) assert.equal((await kit.send(get('/%c0%af'))).status, 400)
  assert.equal((await kit.send(get('/plans'))).code, 'IP_BANNED')
})

test('a part of a path of any length counts by the rule of its route, and is no failed attempt', async (t) => {
  const routes: KitOptions['routes'] = (app) =>
    app.post('/api/v1/things/:id', { config: { needs: 'vpn:use', rule: 'VPN_CONNECT' } }, async () => ({}))
  const kit = await protectedApp(t, { routes })
  const url = `/things/${'a'.repeat(9_000)}`
  const ask = { ...get(url, A, as('user-1')), method: 'POST' } as const
  assert.equal((await kit.send(ask)).headers['ratelimit-policy'], '"vpn_connect";q=25;w=60')
  assert.equal((await kit.send(get(url, A, as('user-1')))).status, 405)
  assert.equal((await kit.send(ask)).headers['x-ratelimit-remaining'], '22')
  assert.equal(kit.protection.state.suspicion.counted.size, 0)
})

test('forged tokens are failed attempts; a token with an unknown key is not', async (t) => {
  const env = { IP_RATE_LIMIT: '10000', RATE_LIMIT_API: '5000/60s', DDOS_THRESHOLD: '100000' }
  const kit = await protectedApp(t, { env })
  for (let i = 0; i < 60; i++) await kit.send(get('/me', B, as('unknown-kid')))
  assert.equal((await kit.send(get('/plans', B))).status, 200)
  for (let i = 0; i < 50; i++) await kit.send(get('/me', A, as('forged')))
  assert.equal((await kit.send(get('/plans'))).code, 'IP_BANNED')
})

test('a private peer that forwards for others is paused, not banned, and said to be a proxy', async (t) => {
  const kit = await protectedApp(t)
  const forwarded = get('/plans', '10.0.0.5', { 'x-forwarded-for': '192.0.2.1' })
  for (let i = 0; i < 520; i++) assert.notEqual((await kit.send(forwarded)).code, 'IP_BANNED')
  const paused = await kit.send(forwarded)
  assert.deepEqual([paused.code, paused.headers['retry-after']], ['RATE_LIMITED', '60'])
  kit.clock.now += 59_000
  assert.equal((await kit.send(forwarded)).status, 429)
  kit.clock.now += 1_000
  assert.equal((await kit.send(forwarded)).status, 200, 'the wait that was told is true')
  assert.equal(kit.protection.state.suspicion.sawUnknownProxy, true)
  assert.equal(kit.logged.filter((line) => line.includes('TRUSTED_PROXIES')).length, 1)
})

test('behind a trusted proxy each client counts for itself, and the proxy is never banned', async (t) => {
  const kit = await protectedApp(t, { env: { TRUSTED_PROXIES: '10.0.0.0/8' } })
  const via = (client: string) => get('/plans', '10.0.0.5', { 'x-forwarded-for': client })
  for (let i = 0; i < 500; i++) await kit.send(via(`6.6.6.6, ${A}`))
  assert.equal((await kit.send(via(A))).code, 'IP_BANNED')
  assert.equal((await kit.send(via(B))).status, 200)
  for (let i = 0; i < 600; i++) await kit.send(get('/plans', '10.0.0.5'))
  assert.notEqual((await kit.send(get('/plans', '10.0.0.5'))).code, 'IP_BANNED')
})

test('from a fleet address signed-in calls count by user only, anonymous limits are wider, and sign-in shuts instead of a ban', async (t) => {
  const kit = await protectedApp(t, { fleet: () => [A] })
  assert.equal(await admittedOf(kit, 300, (i) => get('/me', A, as(`user-${i}`))), 300)
  assert.equal(await admittedOf(kit, 10, () => login('one@example.com')), 7)
  assert.equal(await admittedOf(kit, 40, (i) => login(`user${i}@example.com`)), 21)
  for (let i = 0; i < 50; i++) await kit.send(get(`/nothing-${i}`))
  const shut = await kit.send(login('new@example.com'))
  assert.equal(shut.code, 'RATE_LIMITED')
  assert.equal((await kit.send(get('/plans'))).status, 200)
  kit.clock.now += 300_000
  assert.equal((await kit.send(login('new@example.com'))).status, 200)
})

test('what a browser asks for by itself, and the pages of the document, count by address alone', async (t) => {
  const routes: KitOptions['routes'] = (app) => {
    unaskedRoutes(app)
    openapiRoutes(app)
  }
  const kit = await protectedApp(t, { routes })
  for (const [url, status] of [
    ['/favicon.ico', 204],
    ['/robots.txt', 200],
    ['/apple-touch-icon.png', 204],
    ['/apple-touch-icon-precomposed.png', 204],
    ['/apple-touch-icon-120x120-precomposed.png', 204],
    ['/apple-touch-icon-152x152.png?v=2', 204],
    ['/.well-known/appspecific/com.chrome.devtools.json', 404],
    ['/.well-known/change-password', 404],
    ['/.well-known/resource-that-should-not-exist-whose-status-code-should-not-be-200', 404],
    ['/.well-known/passkey-endpoints', 404],
    ['/.well-known/traffic-advice', 404],
    ['/docs', 200],
    ['/docs/start.js', 200],
    ['/redoc', 200],
  ] as const) {
    const answer = await kit.app.inject(get(url))
    assert.deepEqual([answer.statusCode, answer.headers['ratelimit-policy']], [status, '"ip";q=100;w=60'], url)
  }
  assert.match((await kit.app.inject(get('/robots.txt'))).body, /^User-agent: \*\nDisallow: \/\n$/)
  const { suspicion, global } = kit.protection.state
  assert.deepEqual([suspicion.counted.size, global.sum], [0, 0])
})

test('a plain call of a socket’s path says what is missing, counts by its rule and is no failed attempt', async (t) => {
  const sockets = [{ path: '/api/v1/ws/connection/:user_id' }, { path: '/api/v1/node/link', rule: 'NODE_LINK' }]
  const kit = await protectedApp(t, { routes: (app) => refusePlainCalls(app, sockets) })
  const open = get('/ws/connection/u?token=t', A, as('user-1'))
  const answer = await kit.send(open)
  assert.deepEqual([answer.status, answer.headers['ratelimit-policy']], [400, '"websocket";q=7;w=60'])
  assert.match(JSON.stringify(answer.body), /"field":"Upgrade"/)
  assert.equal((await kit.send({ ...open, method: 'POST' })).headers.allow, 'GET, HEAD')
  for (let i = 0; i < 60; i++) assert.equal((await kit.send(get('/node/link', B))).status, 400)
  assert.equal(kit.protection.state.suspicion.counted.size, 0)
  assert.equal((await kit.send(get('/plans', B))).status, 200)
})

test('a page of another site costs its visitor nothing and is refused', async (t) => {
  const kit = await protectedApp(t, { http: { CORS_ORIGINS: ['https://app.example'] } })
  const cross = (origin: string) =>
    get('/plans', A, { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors', origin })
  for (let i = 0; i < 600; i++) assert.equal((await kit.send(cross('https://evil.example'))).status, 403)
  assert.equal((await kit.send(cross('https://app.example'))).status, 200)
  const navigation = get('/plans', A, { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' })
  assert.equal((await kit.send(navigation)).status, 200)
  const dest = (to: string) =>
    get('/nothing', A, { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': to })
  for (const to of ['iframe', 'frame', 'embed', 'object', 'fencedframe'])
    assert.equal((await kit.send(dest(to))).status, 403, to)
  assert.equal((await kit.send(dest('document'))).status, 404)
  for (const purpose of ['prefetch', 'prefetch;prerender', 'prefetch;anonymous-client-ip']) {
    const ahead = dest('document')
    const headers = { ...ahead.headers, 'sec-purpose': purpose }
    assert.equal((await kit.send({ ...ahead, headers })).status, 403, purpose)
    assert.equal((await kit.send({ ...ahead, headers: { ...headers, 'sec-fetch-site': 'same-origin' } })).status, 404)
  }
  assert.equal(kit.protection.state.suspicion.counted.get('unknown-route'), 4)
})

test('the webhook is not counted and never bans; without a signature it is 400, and bad ones pause the address', async (t) => {
  const kit = await protectedApp(t)
  const call = (headers: Record<string, string>): InjectOptions => ({
    method: 'POST',
    url: '/payments/webhook',
    remoteAddress: A,
    headers: { 'content-type': 'application/json', ...headers },
    payload: {},
  })
  for (let i = 0; i < 600; i++) await kit.send(call({ 'stripe-signature': 't=1' }))
  const good = await kit.send(call({ 'stripe-signature': 't=1' }))
  assert.equal(good.status, 200)
  assert.equal(good.headers['x-ratelimit-limit'], undefined)
  assert.equal((await kit.send(call({}))).status, 400)
  const alerts: string[] = []
  kit.protection.onAlert(({ text }) => alerts.push(text))
  const req = { headers: {}, socket: { remoteAddress: A } } as never
  for (let i = 0; i < 20; i++) kit.protection.attempts.failed(req, 'webhook')
  assert.equal((await kit.send(call({ 'stripe-signature': 't=1' }))).status, 429)
  assert.equal(alerts.length, 1)
  assert.equal((await kit.send(get('/plans'))).status, 200)
  kit.clock.now += 60_000
  assert.equal((await kit.send(call({ 'stripe-signature': 't=1' }))).status, 200)
})
