import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import type { WebSocket } from 'ws'
import { ClientSocket, MAX_BUFFERED } from './socket.ts'
import { TestAuth } from './testing/theatre.ts'

class StubSocket extends EventEmitter {
  readonly OPEN = 1
  readyState = 1
  bufferedAmount = 0
  sent: string[] = []
  pings = 0
  send = (text: string) => void this.sent.push(text)
  ping = () => void this.pings++
  terminate = () => void (this.readyState = 3)
  close = () => void (this.readyState = 2)
}

function aSocket() {
  const ws = new StubSocket()
  const auth = new TestAuth()
  const listener = { userId: 'u', tunnels: [], changed: () => undefined }
  const admission = { principal: auth.principal('u', 's'), until: new Date(Date.now() + 3_600_000) }
  return { ws, socket: new ClientSocket(ws as unknown as WebSocket, listener, admission, auth) }
}

test('a client that does not read is cut off before its frames fill our memory', () => {
  const { ws, socket } = aSocket()
  ws.bufferedAmount = MAX_BUFFERED
  socket.send('a')
  ws.bufferedAmount = MAX_BUFFERED + 1
  socket.send('b')
  assert.deepEqual([ws.sent, ws.readyState], [['a'], 3])
})

test('a client that gives no sign for a minute is cut off, one that answers pings stays', () => {
  const { ws, socket } = aSocket()
  const now = performance.now()
  socket.tick(now + 31_000, Date.now())
  ws.emit('pong')
  socket.tick(now + 62_000, Date.now())
  assert.deepEqual([ws.pings, ws.readyState], [2, 1])
  socket.tick(now + 93_000, Date.now())
  assert.equal(ws.readyState, 3)
})
