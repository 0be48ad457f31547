import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Agent, request, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { defer } from '../platform/testing/index.ts'
import { parseNetwork } from './address/address.ts'
import { protectedApp, type Kit, type KitOptions } from './testing/kit.ts'

// What only a real socket can show: what arrives before the router, and what is no HTTP.

async function listening(t: TestContext, options: KitOptions = {}): Promise<Kit & { port: number }> {
  const kit = await protectedApp(t, { realTime: true, ...options })
  await kit.app.listen({ host: '127.0.0.1', port: 0 })
  return { ...kit, port: (kit.app.server.address() as AddressInfo).port }
}

type Answer = { status: number; headers: IncomingMessage['headers']; body: string; socket: Socket }

function send(
  port: number,
  path: string,
  options: { agent?: Agent; headers?: Record<string, string>; method?: string; body?: string; from?: string } = {},
): Promise<Answer> {
  const { body, from, ...rest } = options
  return new Promise((resolve, reject) => {
    const req = request({ host: '127.0.0.1', port, path, localAddress: from, ...rest }, (res) => {
      let text = ''
      res.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      res.on('end', () =>
        resolve({ status: res.statusCode ?? 0, headers: res.headers, body: text, socket: res.socket }),
      )
    })
    req.on('error', reject)
    req.end(body)
  })
}

/** Everything the server sends until it closes or `ms` have passed. */
async function raw(
  t: TestContext,
  port: number,
  bytes: string,
  ms = 1_000,
): Promise<{ text: string; closed: boolean }> {
  const socket = connect(port, '127.0.0.1')
  defer(t, () => void socket.destroy())
  let text = ''
  socket.on('data', (data) => (text += data.toString('latin1')))
  socket.on('error', () => undefined)
  const closed = Promise.race([once(socket, 'close').then(() => true), sleep(ms, false)])
  socket.write(bytes, 'latin1')
  return { closed: await closed, text }
}

const ban = (kit: Kit, text: string, byStaff = false) => {
  const network = parseNetwork(text)
  assert.ok(network)
  kit.protection.state.bans.apply({ network, leftMs: 3_600_000, byStaff })
}

test('a banned address hears IP_BANNED with the headers of every answer, on one connection, without the router', async (t) => {
  const kit = await listening(t)
  const judged = t.mock.method(kit.protection.state.limiter, 'take')
  ban(kit, '127.0.0.1')
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  defer(t, () => agent.destroy())
  const first = await send(kit.port, '/api/v1/plans', { agent, headers: { 'x-request-id': 'mine.1' } })
  const second = await send(kit.port, '/nowhere', { agent })
  assert.equal(first.status, 429)
  assert.equal(first.headers['x-request-id'], 'mine.1')
  assert.equal(first.headers['retry-after'], '3600')
  const { error } = JSON.parse(first.body) as { error: Record<string, unknown> }
  assert.deepEqual([error.code, error.retry_after, error.request_id], ['IP_BANNED', 3600, 'mine.1'])
  assert.match(String(second.headers['x-request-id']), /^req_[\w-]+$/)
  for (const name of ['x-content-type-options', 'content-security-policy', 'x-api-version', 'cache-control'])
    assert.ok(first.headers[name], name)
  assert.equal(first.socket, second.socket)
  assert.equal(judged.mock.callCount(), 0)
})

test('no ban that comes by itself shuts out one of our nodes and who is behind it; one by staff does', async (t) => {
  const node = '2001:db8:7:1::1'
  const kit = await listening(t, { fleet: () => [node], env: { TRUSTED_PROXIES: '127.0.0.2' } })
  const from = (client: string) =>
    send(kit.port, '/plans', { from: '127.0.0.2', headers: { 'x-forwarded-for': client } })
  ban(kit, '2001:db8:7::/48')
  assert.equal((await from('2001:db8:7:2::1')).status, 429)
  assert.equal((await from(node)).status, 200)
  assert.equal((await kit.send({ method: 'GET', url: '/plans', remoteAddress: node })).status, 200)
  ban(kit, '2001:db8:7::/48', true)
  assert.equal((await from(node)).status, 429)
  assert.equal((await kit.send({ method: 'GET', url: '/plans', remoteAddress: node })).code, 'IP_BANNED')
})

test('a banned request through the router says the same', async (t) => {
  const kit = await listening(t)
  ban(kit, '198.51.100.7')
  const inRouter = await kit.send({ method: 'GET', url: '/plans', remoteAddress: '198.51.100.7' })
  ban(kit, '127.0.0.1')
  const before = await send(kit.port, '/plans')
  const shape = (body: unknown) => {
    const { error } = body as { error: Record<string, unknown> }
    return { ...error, request_id: typeof error.request_id }
  }
  assert.deepEqual(shape(inRouter.body), shape(JSON.parse(before.body)))
  const names = (headers: object) =>
    Object.keys(headers)
      .filter((n) => !['connection', 'keep-alive', 'date'].includes(n))
      .toSorted()
  assert.deepEqual(names(before.headers), names(inRouter.headers))
})

test('the body of a banned caller is not waited for', async (t) => {
  const kit = await listening(t)
  ban(kit, '127.0.0.1')
  const { text, closed } = await raw(
    t,
    kit.port,
    'POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{',
  )
  assert.match(text, /^HTTP\/1\.1 429 /)
  assert.equal(closed, true)
})

test('an address holds so many connections and no more; another is not hurt, and a closed one makes room', async (t) => {
  const kit = await listening(t, { env: { CONNECTIONS_PER_ADDRESS: '4' } })
  const sockets: Socket[] = []
  for (let i = 0; i < 4; i++) {
    const socket = connect(kit.port, '127.0.0.1')
    await once(socket, 'connect')
    sockets.push(socket)
  }
  defer(t, () => sockets.forEach((socket) => socket.destroy()))
  await sleep(50)
  await assert.rejects(send(kit.port, '/health'))
  assert.equal((await send(kit.port, '/health', { from: '127.0.0.2' })).status, 200)
  sockets[0]?.destroy()
  await sleep(50)
  assert.equal((await send(kit.port, '/health', { agent: new Agent() })).status, 200)
})

test('shapes that smuggle a second request are refused and end the connection', async (t) => {
  const kit = await listening(t)
  const hidden = 'GET /health HTTP/1.1\r\nHost: x\r\n\r\n'
  const shapes: Record<string, string> = {
    'length and coding': `POST /plans HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'two lengths': `POST /plans HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n`,
    'two equal lengths': `POST /plans HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n`,
    'length list': `POST /plans HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 0\r\n\r\n`,
    'signed length': `POST /plans HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n`,
    'hex length': `POST /plans HTTP/1.1\r\nHost: x\r\nContent-Length: 0x0\r\n\r\n`,
    'two codings': `POST /plans HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    'two coding lines': `POST /plans HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'chunked twice': `POST /plans HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'unknown coding': `POST /plans HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n`,
    'chunked not last': `POST /plans HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    'coding with a tab': `POST /plans HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\tchunked\tx\r\n\r\n0\r\n\r\n`,
    'blank before the colon': `POST /plans HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n`,
    'folded header': `POST /plans HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n`,
    'bare line feed': `GET /plans HTTP/1.1\nHost: x\n\n`,
    'bare carriage return': `GET /plans HTTP/1.1\r\nHost: x\rX: y\r\n\r\n`,
    'NUL in a header': `GET /plans HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n`,
    'no host': `GET /plans HTTP/1.1\r\n\r\n`,
    'two hosts': `GET /plans HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n`,
    'bad chunk length': `POST /plans HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n`,
    'blank start': ` GET /plans HTTP/1.1\r\nHost: x\r\n\r\n`,
    'old protocol with coding': `POST /plans HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  }
  for (const [name, bytes] of Object.entries(shapes)) {
    const { text, closed } = await raw(t, kit.port, bytes + hidden, 3_000)
    const answers = text.match(/HTTP\/1\.1 \d{3}/g) ?? []
    assert.ok(
      !answers.some((line) => line.endsWith('200')),
      `${name}: the hidden request was answered: ${text.slice(0, 80)}`,
    )
    // A body that goes wrong may come after its headers were answered, here by 405.
    const expected = name === 'bad chunk length' ? /40[05]$/ : /400$/
    assert.ok(answers.length <= 1 && expected.test(answers[0] ?? '400'), `${name}: ${answers.join(' ')}`)
    assert.equal(closed, true, `${name} stays open`)
  }
})

test('a request with two hosts counts like any other, and a banned caller hears of the ban', async (t) => {
  const kit = await listening(t, { env: { RATE_LIMIT_API: '3/60s+0' } })
  const statuses: (string | undefined)[] = []
  const ask = async () => {
    const { text } = await raw(t, kit.port, 'GET /plans HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n', 500)
    statuses.push(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1])
    return text
  }
  for (let i = 0; i < 4; i++) await ask()
  assert.deepEqual(statuses, ['400', '400', '400', '429'])
  ban(kit, '127.0.0.1')
  assert.match(await ask(), /IP_BANNED/)
})

test('a header that never ends, and too many of them, do not hold a connection', async (t) => {
  const kit = await listening(t)
  const big = await raw(t, kit.port, `GET /plans HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`, 2_000)
  assert.match(big.text, /^HTTP\/1\.1 (400|431) /)
  assert.equal(big.closed, true)
  const many = Array.from({ length: 3_000 }, (_, i) => `X${i}: y\r\n`).join('')
  const flood = await raw(t, kit.port, `GET /plans HTTP/1.1\r\nHost: x\r\n${many}\r\n`, 2_000)
  assert.match(flood.text, /^HTTP\/1\.1 (400|431) /)
})

test('slow clients are cut: headers that come in drips end their connection, while others are served', async (t) => {
  const kit = await listening(t)
  assert.equal(kit.app.server.headersTimeout, 10_000)
  kit.app.server.headersTimeout = 1_000
  const socket = connect(kit.port, '127.0.0.1')
  socket.on('error', () => undefined)
  defer(t, () => void socket.destroy())
  socket.write('GET /plans HTTP/1.1\r\nHost: x\r\n')
  const drip = setInterval(() => socket.writable && socket.write('X-A: b\r\n'), 100)
  defer(t, () => clearInterval(drip))
  assert.equal((await send(kit.port, '/health', { agent: new Agent() })).status, 200)
  // Seen from the server, since such a client closes nothing itself.
  const connections = () => new Promise<number>((resolve) => kit.app.server.getConnections((_, n) => resolve(n)))
  await sleep(100)
  assert.equal(await connections(), 1)
  const until = performance.now() + 4_000
  while ((await connections()) > 0) {
    assert.ok(performance.now() < until, 'the connection is still held')
    await sleep(50)
  }
})
