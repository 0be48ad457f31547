import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test, type TestContext } from 'node:test'
import { z } from 'zod'
import { AppError } from '../errors.ts'
import { createLog } from '../log.ts'
import { createApp, Count, listAnswer, plainText, Time, type App } from './index.ts'

const config = { ALLOWED_HOSTS: [], CORS_ORIGINS: ['https://app.example'], PUBLIC_URL: undefined }
const ID = '018f0000-0000-7000-8000-000000000000'
const json = { 'content-type': 'application/json' }

async function anApp(t: TestContext, change: Partial<Parameters<typeof createApp>[0]> = {}): Promise<App> {
  const app = await createApp({ config, log: createLog('silent'), ...change })
  t.after(() => app.close())
  app.post(
    '/api/v1/things/:id',
    {
      config: { needs: 'public' },
      schema: {
        params: z.strictObject({ id: z.uuid() }),
        body: z.strictObject({ name: plainText(1, 20), n: z.int().optional() }),
        response: { 201: z.object({ name: z.string(), big: Count, at: Time }) },
      },
    },
    async (req, reply) =>
      reply.code(201).send({ name: req.body.name, big: 2n ** 63n - 1n, at: new Date(0), secret: 'no' } as never),
  )
  app.post(
    '/api/v1/empty',
    { config: { needs: 'public' }, schema: { body: z.strictObject({ a: z.string().optional() }) } },
    async () => ({ ok: true }),
  )
  app.delete('/api/v1/bare', { config: { needs: 'public' } }, async (_req, reply) => reply.code(204).send())
  app.get('/api/v1/broken', { config: { needs: 'public' } }, async () => {
    throw new Error('select password from users')
  })
  app.get('/api/v1/busy', { config: { needs: 'public' } }, async () => {
    throw new AppError('RATE_LIMITED', 'Slow down.', { retry_after: 7 })
  })
  return app
}

type Envelope = {
  error: {
    code: string
    message: string
    details?: { field: string; message: string }[]
    request_id: string
    retry_after?: number
  }
}
const post = (app: App, body: unknown, url = `/things/${ID}`, headers: Record<string, string> = json) =>
  app.inject({ method: 'POST', url, headers, payload: typeof body === 'string' ? body : JSON.stringify(body) })

test('an answer holds the documented fields and no other, exact to 64 bits', async (t) => {
  const res = await post(await anApp(t), { name: 'x' })
  assert.equal(res.statusCode, 201)
  assert.equal(res.body, '{"name":"x","big":9223372036854775807,"at":"1970-01-01T00:00:00.000Z"}')
  assert.equal(res.headers['content-type'], 'application/json; charset=utf-8')
})

test('every field that is wrong or unknown is named', async (t) => {
  const error = (await post(await anApp(t), { name: 5, n: '5', role: 'admin' })).json<Envelope>().error
  assert.equal(error.code, 'INVALID_INPUT')
  assert.deepEqual(error.details?.map((d) => d.field).toSorted(), ['n', 'name', 'role'])
})

test("hostile bodies are the caller's fault, never ours", async (t) => {
  const app = await anApp(t)
  const bodies = [
    '',
    '{',
    '[',
    '['.repeat(60_000),
    '{"name":"\\u0000"}',
    '{"name":"\\ud800"}',
    '{"__proto__":{"a":1},"name":"x"}',
    '{"constructor":1,"name":"x"}',
    '\ufeff{"name":"x"}',
    '{"name":"a\\nb"}',
    '{"name":"a\\u2028b"}',
    '{"name":"   "}',
    '{"name":"x","n":1e999}',
    '{"name":"x","n":1.5}',
    '{"name":["x"]}',
    'null',
    '"x"',
    '5',
    '{"name":"x"}x',
    `{"a":${'{"a":'.repeat(5000)}1${'}'.repeat(5001)}`,
  ]
  for (const body of bodies) assert.equal((await post(app, body)).statusCode, 400, body.slice(0, 40))
  const invalidUtf8 = await app.inject({
    method: 'POST',
    url: `/things/${ID}`,
    headers: json,
    payload: Buffer.from([0x22, 0xff, 0xfe, 0x22]),
  })
  assert.equal(invalidUtf8.statusCode, 400)
})

test('a body that is too large is 413, another type 415', async (t) => {
  const app = await anApp(t)
  assert.equal((await post(app, { name: 'x'.repeat(70_000) })).json<Envelope>().error.code, 'TOO_LARGE')
  for (const type of [
    'text/plain',
    'text/json',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/jsonp',
  ]) {
    const res = await post(app, '{"name":"x"}', undefined, { 'content-type': type })
    assert.equal(res.json<Envelope>().error.code, 'UNSUPPORTED_MEDIA_TYPE', type)
  }
})

test('odd spellings of the JSON type never reach a handler unvalidated', async (t) => {
  const app = await anApp(t)
  for (const type of [
    'application/json\t;x',
    ' application/json',
    'Application/JSON ;',
    'application/json;',
    'application/json; charset=utf-8',
    'application/json;charset=UTF-7',
  ]) {
    const res = await post(app, '{"name":5}', undefined, { 'content-type': type })
    assert.ok([400, 415].includes(res.statusCode), type)
  }
})

test('an empty body is enough where every field is optional', async (t) => {
  const app = await anApp(t)
  assert.equal((await app.inject({ method: 'POST', url: '/empty' })).statusCode, 200)
  assert.equal((await app.inject({ method: 'POST', url: `/things/${ID}` })).statusCode, 400)
  assert.equal((await post(app, 'null', '/empty')).statusCode, 400, 'null is a body, and none that fits')
})

test('a call that takes no body refuses one that holds something', async (t) => {
  const app = await anApp(t)
  const ask = (payload?: string) =>
    app.inject({ method: 'DELETE', url: '/bare', ...(payload === undefined ? {} : { payload, headers: json }) })
  for (const none of [undefined, '', '{}']) assert.equal((await ask(none)).statusCode, 204, none)
  for (const some of ['[]', '5', '"x"', '[{}]']) assert.equal((await ask(some)).statusCode, 400, some)
  const { error } = (await ask('{"role":"admin"}')).json<Envelope>()
  assert.deepEqual(
    error.details?.map((d) => d.field),
    ['role'],
  )
})

test('a malformed id in a path is an object that does not exist', async (t) => {
  const app = await anApp(t)
  for (const id of ['1', 'x'.repeat(200), '%00', '..%2f', '%2561', `${ID}x`]) {
    assert.equal((await post(app, { name: 'x' }, `/things/${id}`)).statusCode, 404, id)
  }
  assert.equal((await post(app, { name: 'x' }, `/things/${'x'.repeat(300)}`)).statusCode, 404)
})

test('a query field that is unknown, doubled, or also in the body is refused', async (t) => {
  const app = await anApp(t)
  for (const query of ['x=1', 'name=a', 'name=a&name=b', 'n=1&n=2', 'a[]=1', 'n=%00']) {
    assert.equal((await post(app, { name: 'x' }, `/things/${ID}?${query}`)).statusCode, 400, query)
  }
})

test('a wrong method is 405 with Allow, an unknown path 404', async (t) => {
  const app = await anApp(t)
  const wrong = await app.inject({ method: 'DELETE', url: '/api/v1/empty' })
  assert.equal(wrong.json<Envelope>().error.code, 'METHOD_NOT_ALLOWED')
  assert.equal(wrong.headers.allow, 'POST')
  assert.equal((await app.inject({ method: 'TRACE' as never, url: '/api/v1/broken' })).statusCode, 405)
  for (const url of ['/nope', '/api/v2/empty', '/%2e%2e%2fempty', '/api/v1;x/empty', '/API/V1/empty', '/empty/']) {
    assert.equal((await app.inject({ method: 'POST', url })).json<Envelope>().error.code, 'NOT_FOUND', url)
  }
})

test('an OPTIONS is a preflight by its headers, else a method that the path does not take', async (t) => {
  const app = await anApp(t)
  const ask = (url: string, headers: Record<string, string> = {}) => app.inject({ method: 'OPTIONS', url, headers })
  const bare = await ask('/empty')
  assert.equal(bare.json<Envelope>().error.code, 'METHOD_NOT_ALLOWED')
  assert.equal(bare.headers.allow, 'POST')
  assert.equal((await ask('/nope')).json<Envelope>().error.code, 'NOT_FOUND')
  const origin = 'https://app.example'
  assert.equal((await ask('/empty', { origin, 'access-control-request-method': 'POST' })).statusCode, 204)
})

test('every spelling of a path meets the same guard', async (t) => {
  const seen: (string | undefined)[] = []
  const app = await anApp(t, { authenticate: async (req) => void seen.push(req.routeOptions.url) })
  for (const url of [
    '/api/v1/empty',
    '/empty',
    '//api//v1///empty',
    '/api/v1/empty?',
    'http://other.example/api/v1/empty',
  ]) {
    assert.equal((await app.inject({ method: 'POST', url })).statusCode, 200, url)
  }
  assert.deepEqual(new Set(seen), new Set(['/api/v1/empty']))
})

test('a fault of ours tells nothing of the inside', async (t) => {
  const res = await (await anApp(t)).inject('/broken')
  assert.equal(res.statusCode, 500)
  assert.equal(res.json<Envelope>().error.code, 'INTERNAL')
  assert.ok(!res.body.includes('select'))
})

test('waiting is told in the header and beside the code', async (t) => {
  const res = await (await anApp(t)).inject('/busy')
  assert.equal(res.headers['retry-after'], '7')
  assert.equal(res.json<Envelope>().error.retry_after, 7)
})

test('a harmless X-Request-ID is echoed, another replaced', async (t) => {
  const app = await anApp(t)
  const ask = async (id: string) => app.inject({ url: '/nope', headers: { 'x-request-id': id } })
  const good = await ask('Abc.1_2-3')
  assert.equal(good.headers['x-request-id'], 'Abc.1_2-3')
  assert.equal(good.json<Envelope>().error.request_id, 'Abc.1_2-3')
  for (const id of ['', 'x'.repeat(65), 'a b', 'a"b', 'ä'])
    assert.match(String((await ask(id)).headers['x-request-id']), /^req_/)
})

test('major version 1 in any form is served, another refused', async (t) => {
  const app = await anApp(t)
  const ask = async (version: string) =>
    (await app.inject({ method: 'POST', url: '/empty', headers: { 'x-api-version': version } })).statusCode
  for (const version of ['1', '1.0', '1.9', 'v1', '1.0.3']) assert.equal(await ask(version), 200, version)
  for (const version of ['2', '0', '2.1', 'x', '', '1.0.0.0', '01x', '99999'])
    assert.equal(await ask(version), 400, version)
})

test('a host that is not ours is refused when hosts are named', async (t) => {
  const app = await anApp(t, { config: { ...config, ALLOWED_HOSTS: ['vpn.example', '*.vpn.example'] } })
  const ask = async (host: string) =>
    (await app.inject({ method: 'POST', url: '/empty', headers: { host } })).statusCode
  for (const host of ['vpn.example', 'VPN.example:8000', 'a.vpn.example']) assert.equal(await ask(host), 200, host)
  for (const host of ['evil.example', 'vpn.example.evil', 'xvpn.example']) assert.equal(await ask(host), 400, host)
})

test('in the clear nothing but health is served where our address is https', async (t) => {
  const secure = { ...config, PUBLIC_URL: 'https://vpn.example' }
  const arrivesByHttps = (req: { headers: Record<string, unknown> }) => req.headers['x-test-tls'] === 'yes'
  const app = await anApp(t, { config: secure, arrivesByHttps })
  app.get('/health', { config: { needs: 'public' } }, async () => ({ status: 'ok' }))
  const ask = (headers: Record<string, string>) => app.inject({ method: 'POST', url: '/empty', headers })
  assert.equal((await ask({})).json<Envelope>().error.code, 'FORBIDDEN')
  assert.equal((await app.inject('/nope')).statusCode, 403)
  assert.equal((await ask({ 'x-test-tls': 'yes' })).statusCode, 200)
  assert.equal((await app.inject('/health')).statusCode, 200)
  const plain = await anApp(t, { arrivesByHttps: () => false })
  assert.equal((await plain.inject({ method: 'POST', url: '/empty' })).statusCode, 200)
})

test('only allowed origins are told that they may read an answer', async (t) => {
  const app = await anApp(t)
  const ask = async (origin: string) =>
    (await app.inject({ method: 'POST', url: '/empty', headers: { origin } })).headers['access-control-allow-origin']
  assert.equal(await ask('https://app.example'), 'https://app.example')
  for (const origin of ['https://evil.example', 'null', 'https://app.example.evil', 'http://app.example'])
    assert.equal(await ask(origin), undefined, origin)
})

test('every answer carries the security headers, errors included', async (t) => {
  const app = await anApp(t, { config: { ...config, PUBLIC_URL: 'https://vpn.example' } })
  for (const url of ['/broken', '/nope', '/%zz']) {
    const { headers } = await app.inject(url)
    assert.equal(headers['x-content-type-options'], 'nosniff', url)
    assert.equal(headers['cache-control'], 'no-store')
    assert.match(String(headers['content-security-policy']), /frame-ancestors 'none'/)
    assert.match(String(headers['strict-transport-security']), /max-age=\d{8}; includeSubDomains/)
    assert.equal(headers['x-api-version'], '1.0')
  }
})

test('a route that does not say who may call it does not start', async (t) => {
  const app = await createApp({ config, log: createLog('silent') })
  t.after(() => app.close())
  assert.throws(() => app.get('/api/v1/open', async () => 'x'), /does not say who may call/)
})

/** Sends raw bytes and gives back what comes until the server closes. */
async function raw(app: App, bytes: string): Promise<string> {
  if (!app.server.listening) await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as { port: number }
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    let text = ''
    socket.on('data', (data) => (text += data.toString()))
    socket.on('close', () => resolve(text))
    socket.on('error', reject)
    socket.setTimeout(2_000, () => socket.destroy(new Error('the server kept the socket open')))
  })
}

test('what is no HTTP, or could be read in two ways, is refused and the socket closed', async (t) => {
  const app = await anApp(t)
  const head = 'POST /empty HTTP/1.1\r\nHost: x\r\n'
  const shapes = [
    'nonsense\r\n\r\n',
    `${head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}`,
    `${head}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`,
    `${head}Transfer-Encoding: xchunked\r\n\r\n`,
    `${head}Transfer-Encoding : chunked\r\n\r\n`,
    'POST /empty HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n',
    'GET /empty HTTP/1.1\nHost: x\n\n',
    'GET /empty HTTP/1.1\r\n\r\n',
    `GET /empty HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`,
  ]
  for (const bytes of shapes) {
    const answer = await raw(app, bytes)
    assert.match(answer, /^HTTP\/1.1 4\d\d /, bytes.slice(0, 80))
    const [, id = 'none'] = /^x-request-id: (\S+)\r$/m.exec(answer) ?? []
    assert.ok(answer.includes(`"request_id":"${id}"`), answer)
  }
})

test('an offer of another protocol, or an expectation we do not know, does not stand in the way of an answer', async (t) => {
  const app = await anApp(t)
  for (const lines of ['Connection: Upgrade, close\r\nUpgrade: h2c\r\n', 'Connection: close\r\nExpect: wonders\r\n']) {
    const answer = await raw(app, `POST /empty HTTP/1.1\r\nHost: x\r\n${lines}Content-Length: 0\r\n\r\n`)
    assert.match(answer, /^HTTP\/1.1 200 /, lines)
  }
})

test('pages of a list link to each other and keep the other query fields', () => {
  const at = (page: number) => listAnswer('/api/v1/x?q=a%20b&page=2', { page, per_page: 10 }, 25, [])
  assert.deepEqual(at(2).meta, { total: 25, page: 2, per_page: 10, total_pages: 3 })
  assert.deepEqual(at(2).links, {
    self: '/api/v1/x?q=a+b&page=2&per_page=10',
    next: '/api/v1/x?q=a+b&page=3&per_page=10',
    prev: '/api/v1/x?q=a+b&page=1&per_page=10',
  })
  assert.equal(at(1).links.prev, null)
  assert.equal(at(3).links.next, null)
})
