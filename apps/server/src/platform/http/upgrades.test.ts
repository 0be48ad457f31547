import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { test, type TestContext } from 'node:test'
import { WebSocket } from 'ws'
import { AppError, Unauthenticated } from '../errors.ts'
import { createLog } from '../log.ts'
import { Upgrades } from './index.ts'

const config = { ALLOWED_HOSTS: [], CORS_ORIGINS: ['https://app.example'], PUBLIC_URL: 'https://vpn.example' }

async function aServer(t: TestContext) {
  const upgrades = new Upgrades(config, createLog('silent'))
  upgrades.add({
    path: '/api/v1/ws/echo/:id',
    maxPayload: 1024,
    async handle(req, accept) {
      if (req.query.token === undefined) throw new Unauthenticated()
      if (req.params.id === 'boom') throw new Error('inner detail')
      if (req.params.id === 'wait') throw new AppError('RATE_LIMITED', 'Slow down.', { retry_after: 3 })
      const ws = await accept(req.protocols.find((p) => p === 'prime.v1'))
      ws.on('message', (data) => ws.send(data))
    },
  })
  const http = createServer()
  upgrades.attach(http)
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  t.after(async () => {
    await upgrades.close()
    http.closeAllConnections()
    http.close()
  })
  const { port } = http.address() as { port: number }
  const open = (path: string, o: { protocols?: string[]; origin?: string; headers?: Record<string, string> } = {}) =>
    new WebSocket(`ws://127.0.0.1:${port}${path}`, o.protocols ?? [], {
      ...(o.origin ? { origin: o.origin } : {}),
      headers: o.headers ?? {},
    })
  return { upgrades, port, open }
}

/** The HTTP answer of a refused upgrade. */
function refusal(
  ws: WebSocket,
): Promise<{ status: number; headers: Record<string, unknown>; code: string; request_id: string }> {
  return new Promise((resolve, reject) => {
    ws.on('open', () => reject(new Error('the socket was opened')))
    ws.on('unexpected-response', (_req, res) => {
      let text = ''
      res.on('data', (d: Buffer) => (text += d.toString()))
      res.on('end', () => {
        const { error } = JSON.parse(text) as { error: { code: string; request_id: string } }
        resolve({ status: res.statusCode ?? 0, headers: res.headers, ...error })
      })
    })
    ws.on('error', () => undefined)
  })
}

test('a socket opens under both spellings of its path and carries messages', async (t) => {
  const { open } = await aServer(t)
  for (const path of ['/api/v1/ws/echo/1?token=x', '/ws/echo/1?token=x', '//ws//echo/1?token=x']) {
    const ws = open(path, { protocols: ['prime.v1', 'bearer.secret'] })
    await once(ws, 'open')
    assert.equal(ws.protocol, 'prime.v1')
    ws.send('hello')
    assert.equal(String((await once(ws, 'message'))[0]), 'hello')
    ws.close()
  }
})

test("a refusal before the upgrade is the contract's error", async (t) => {
  const { open } = await aServer(t)
  const unsigned = await refusal(open('/ws/echo/1', { headers: { 'x-request-id': 'mine' } }))
  assert.deepEqual([unsigned.status, unsigned.code, unsigned.request_id], [401, 'UNAUTHENTICATED', 'mine'])
  assert.equal(unsigned.headers['x-request-id'], 'mine')
  assert.equal(unsigned.headers['x-content-type-options'], 'nosniff')
  assert.equal((await refusal(open('/ws/nothing'))).code, 'NOT_FOUND')
  assert.equal((await refusal(open('/ws/echo/boom?token=x'))).code, 'INTERNAL')
  assert.equal((await refusal(open('/ws/echo/1?token=x&token=y'))).code, 'INVALID_INPUT')
  assert.equal((await refusal(open('/ws/echo/1?token=x', { headers: { 'x-api-version': '9' } }))).status, 400)
  const waiting = await refusal(open('/ws/echo/wait?token=x'))
  assert.deepEqual([waiting.status, waiting.headers['retry-after']], [429, '3'])
})

test('a page of another origin may not open a socket', async (t) => {
  const { open } = await aServer(t)
  for (const origin of ['https://evil.example', 'null', 'https://vpn.example.evil']) {
    assert.equal((await refusal(open('/ws/echo/1?token=x', { origin }))).code, 'FORBIDDEN')
  }
  for (const origin of ['https://app.example', 'https://vpn.example']) {
    const ws = open('/ws/echo/1?token=x', { origin })
    await once(ws, 'open')
    ws.close()
  }
})

test('a message that is too large ends the socket with 1009', async (t) => {
  const { open } = await aServer(t)
  const ws = open('/ws/echo/1?token=x')
  await once(ws, 'open')
  ws.on('error', () => undefined)
  ws.send('x'.repeat(2_000))
  assert.equal((await once(ws, 'close'))[0], 1009)
})

test('a hostile upgrade leaves the server standing', async (t) => {
  const { open, port } = await aServer(t)
  const many = Array.from({ length: 2_500 }, (_, i) => `x-${i}: a\r\n`).join('')
  for (const lines of [
    many,
    'Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n',
    'Sec-WebSocket-Version: 99\r\n',
    'Host: y\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n',
  ]) {
    const socket = connect(port, '127.0.0.1')
    let answer = ''
    socket.on('error', () => undefined)
    socket.on('data', (data) => (answer += data.toString()))
    socket.write(
      `GET /ws/echo/1?token=x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${lines}\r\n`,
    )
    await once(socket, 'close')
    if (lines !== many) assert.match(answer, /^HTTP\/1.1 400 [\s\S]*"code":"INVALID_INPUT"/)
  }
  const ws = open('/ws/echo/1?token=x')
  await once(ws, 'open')
  ws.close()
})

test('closing tells open sockets that we go and opens no more', async (t) => {
  const { upgrades, open } = await aServer(t)
  const ws = open('/ws/echo/1?token=x')
  await once(ws, 'open')
  const closed = once(ws, 'close')
  await upgrades.close()
  assert.equal((await closed)[0], 1001)
  assert.equal((await refusal(open('/ws/echo/1?token=x'))).code, 'UNAVAILABLE')
})
