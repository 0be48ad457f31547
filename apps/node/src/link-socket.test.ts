import assert from 'node:assert/strict'
import { createServer, type Server, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import type { ServerMessage } from '@prime-vpn/node-protocol'
import { WebSocketServer, type WebSocket } from 'ws'
import { looksSane } from './link-guard.ts'
import { openLinkSocket, type LinkHandlers } from './link-socket.ts'

type Heard = { messages: ServerMessage[]; invalid: string[]; status: number | null; opened: boolean }

/** Connects to a server and gives what was heard until the link closed. */
function connect(t: TestContext, port: number, o: { pingMs?: number; on?: Partial<LinkHandlers> } = {}) {
  const heard: Heard = { messages: [], invalid: [], status: null, opened: false }
  const { promise: closed, resolve } = Promise.withResolvers<Heard>()
  const socket = openLinkSocket(
    `http://127.0.0.1:${port}`,
    {
      opened: () => (heard.opened = true),
      message: (message) => heard.messages.push(message),
      invalid: (reason) => heard.invalid.push(reason),
      closed: (status) => resolve({ ...heard, status }),
      ...o.on,
    },
    o.pingMs,
  )
  t.after(() => socket.destroy())
  return { socket, closed, heard }
}

async function websocketServer(t: TestContext, act: (socket: WebSocket) => void): Promise<number> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  t.after(() => {
    for (const client of server.clients) client.terminate()
    server.close()
  })
  server.on('connection', (socket) => {
    socket.on('error', () => socket.terminate())
    act(socket)
  })
  await new Promise((resolve) => server.once('listening', resolve))
  return portOf(server.address())
}

async function rawServer(t: TestContext, act: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    act(socket)
  })
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return portOf(server.address())
}

function portOf(address: unknown): number {
  if (typeof address === 'object' && address !== null && 'port' in address) return Number(address.port)
  throw new Error('no port')
}

test('messages of the protocol come through, foreign ones are named and change nothing', async (t) => {
  const port = await websocketServer(t, (socket) => {
    socket.send(JSON.stringify({ type: 'watch', slots: [1] }))
    socket.send('{"type":"from the future","x":1}')
    socket.send('{"type":"watch","slots":["1"]}')
    socket.send('not json')
    socket.send(Buffer.from([1, 2, 3]))
    socket.close()
  })
  const heard = await connect(t, port).closed
  assert.deepEqual(heard.messages, [{ type: 'watch', slots: [1] }])
  assert.equal(heard.invalid.length, 3)
})

test('a redirect is not followed and the answer is told', async (t) => {
  const port = await rawServer(t, (socket) => {
    socket.end('HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n')
  })
  assert.equal((await connect(t, port).closed).status, 302)
})

test('a header that never ends is cut off', async (t) => {
  const port = await rawServer(t, (socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\n')
    const more = (): void =>
      void (socket.destroyed || socket.write(`X-A: ${'a'.repeat(4096)}\r\n`, () => setImmediate(more)))
    more()
  })
  assert.equal((await connect(t, port).closed).opened, false)
})

for (const [name, attack] of [
  ['a message larger than any may be', (socket: WebSocket) => socket.send('x'.repeat(33 * 1024 * 1024))],
  ['a message of endless fragments', (socket: WebSocket) => repeat(20_000, () => socket.send('[', { fin: false }))],
] as const)
  test(`${name} closes the link`, async (t) => {
    const port = await websocketServer(t, attack)
    const heard = await connect(t, port).closed
    assert.equal(heard.opened, true)
    assert.deepEqual(heard.messages, [])
  })

test('a flood of pings is answered sparingly', async (t) => {
  let pongs = 0
  const port = await websocketServer(t, (socket) => {
    socket.on('pong', () => pongs++)
    repeat(10_000, () => socket.ping())
    setTimeout(() => socket.close(), 200)
  })
  await connect(t, port).closed
  assert.ok(pongs >= 1 && pongs < 5, `${pongs} pongs`)
})

test('a link whose other end falls silent is closed', async (t) => {
  const port = await websocketServer(t, (socket) => {
    socket.pause()
  })
  const heard = await connect(t, port, { pingMs: 50 }).closed
  assert.equal(heard.opened, true)
})

test('text that would fill the memory is refused before it is parsed, real messages are not', () => {
  const bytes = (text: string): Buffer => Buffer.from(text)
  assert.equal(looksSane(bytes('['.repeat(17))), false)
  assert.equal(looksSane(bytes(`[${'[],'.repeat(5_000)}[]]`)), false)
  assert.equal(looksSane(bytes(`{"a":"${'['.repeat(5_000)}\\"${'{'.repeat(5_000)}"}`)), true)
  const empty = JSON.stringify({
    type: 'snapshot',
    empty: Array.from({ length: 60_000 }, (_, slot) => ({ slot, version: 1 })),
  })
  assert.equal(looksSane(bytes(empty)), true)
})

const repeat = (n: number, act: () => void): void => {
  for (let i = 0; i < n; i++) act()
}
