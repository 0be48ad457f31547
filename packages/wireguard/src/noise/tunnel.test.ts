import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'
import { HandshakeFailed, InvalidValue } from '../errors.ts'
import { generateKeyPair, generatePresharedKey } from '../keys.ts'
import { echoRequest } from '../testing/icmp.ts'
import { Responder, serve } from '../testing/responder.ts'
import { openTunnel, probe, type TunnelOptions } from './tunnel.ts'

async function aServer(t: TestContext): Promise<{ server: Responder; o: TunnelOptions }> {
  const presharedKey = generatePresharedKey()
  const server = new Responder(presharedKey)
  const { socket, port } = await serve(server)
  t.after(() => socket.close())
  const { privateKey } = generateKeyPair()
  const endpoint = { address: '127.0.0.1', port }
  return { server, o: { endpoint, serverPublicKey: server.keys.publicKey, privateKey, presharedKey, timeoutMs: 5_000 } }
}

test('a probe tells how long the handshake took', async (t) => {
  const { o } = await aServer(t)
  const { rttMs } = await probe(o)
  assert.ok(rttMs > 0 && rttMs < 5_000)
})

test('a probe can be sent from a chosen address', async (t) => {
  const { o } = await aServer(t)
  await probe({ ...o, localAddress: '127.0.0.1' })
  await assert.rejects(probe({ ...o, localAddress: '192.0.2.77' }), HandshakeFailed)
})

test('packets go there and back, however the sockets cut time', async (t) => {
  const { o } = await aServer(t)
  const tunnel = await openTunnel(o)
  t.after(() => tunnel.close())
  const packets = ['one', 'two', 'three'].map((text) => echoRequest('10.0.0.2', '10.0.0.1', text))
  for (const packet of packets) tunnel.send(packet)
  for (const packet of packets) assert.deepEqual(Buffer.from(await tunnel.receive(2_000)), Buffer.from(packet))
  await assert.rejects(tunnel.receive(20), HandshakeFailed)
})

test('a busy server is answered with its cookie at once', async (t) => {
  const { server, o } = await aServer(t)
  server.cookie = new Uint8Array(16).fill(9)
  await probe({ ...o, timeoutMs: 900 }) // before the first retry
})

test('a wrong preshared key or server key gets no session, in the time given', async (t) => {
  const { o } = await aServer(t)
  const began = performance.now()
  await assert.rejects(probe({ ...o, presharedKey: null, timeoutMs: 150 }), HandshakeFailed)
  await assert.rejects(probe({ ...o, serverPublicKey: generateKeyPair().publicKey, timeoutMs: 150 }), HandshakeFailed)
  assert.ok(performance.now() - began < 2_000)
})

test('rubbish before the answer does not end the handshake', async (t) => {
  const { server, o } = await aServer(t)
  const socket = createSocket('udp4', (message, from) => {
    const reply = server.answer(message)
    for (const rubbish of [Uint8Array.of(2), new Uint8Array(92).fill(2), new Uint8Array(64).fill(3)])
      socket.send(rubbish, from.port, from.address)
    if (reply) socket.send(reply, from.port, from.address)
  })
  t.after(() => socket.close())
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  await probe({ ...o, endpoint: { address: '127.0.0.1', port: socket.address().port } })
})

test('a closed port is no answer', async () => {
  const socket = createSocket('udp4').bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  const { privateKey, publicKey } = generateKeyPair()
  const o = { privateKey, serverPublicKey: publicKey, presharedKey: null, timeoutMs: 100 }
  await assert.rejects(probe({ ...o, endpoint: { address: '127.0.0.1', port } }), HandshakeFailed)
  await assert.rejects(probe({ ...o, endpoint: { address: 'localhost', port } }), InvalidValue)
})
