import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { HandshakeFailed, InvalidValue } from '../errors.ts'
import { generateKeyPair, generatePresharedKey } from '../keys.ts'
import { Responder } from '../testing/responder.ts'
import { Initiator } from './initiator.ts'
import { COOKIE_SIZE, INITIATION_SIZE, mac2Of, RESPONSE_SIZE, tai64n } from './messages.ts'

const ZERO = new Uint8Array(16)

function parties(): {
  mine: ReturnType<typeof generateKeyPair>
  server: Responder
  client: Initiator
  clock: { now: bigint }
} {
  const psk = generatePresharedKey()
  const server = new Responder(psk)
  const mine = generateKeyPair()
  let index = 0xdeadbeef
  const clock = { now: 1_700_000_000_000_000_000n }
  const client = new Initiator(
    { privateKey: mine.privateKey, serverPublicKey: server.keys.publicKey, presharedKey: psk },
    { now: () => clock.now, ephemeral: () => generateKeyPairSync('x25519').privateKey, index: () => index++ },
  )
  return { mine, server, client, clock }
}

const answer = (server: Responder, message: Uint8Array): Uint8Array => {
  const reply = server.answer(message)
  assert.ok(reply)
  return reply
}

test('initiation and response have the sizes of the whitepaper and give both sides a session', () => {
  const { mine, server, client, clock } = parties()
  const initiation = client.start()
  assert.equal(initiation.length, INITIATION_SIZE)
  assert.deepEqual([...initiation.subarray(0, 8)], [1, 0, 0, 0, 0xef, 0xbe, 0xad, 0xde])
  const response = answer(server, initiation)
  assert.equal(response.length, RESPONSE_SIZE)
  const session = client.finish(response)
  assert.equal(server.seen?.initiator, mine.publicKey)
  assert.deepEqual(server.seen?.timestamp, tai64n(clock.now))
  assert.deepEqual(server.session?.decrypt(session.encrypt()), new Uint8Array(0))
  const packet = new Uint8Array(21)
  packet.set([0x45, 0, 0, 21])
  assert.deepEqual(server.session?.decrypt(session.encrypt(packet)), packet)
  assert.deepEqual(server.session && session.decrypt(server.session.encrypt(packet)), packet)
})

test('a response with any bit turned, or to another initiation, is refused', () => {
  for (let byte = 0; byte < RESPONSE_SIZE - 16; byte++) {
    const { server, client } = parties()
    const response = answer(server, client.start())
    response[byte] = (response[byte] ?? 0) ^ 1
    // mac2, the last 16 bytes, is zero and not looked at: only a server under load asks for it.
    assert.throws(() => client.finish(response), HandshakeFailed, `byte ${byte}`)
  }
  const { server, client } = parties()
  const old = answer(server, client.start())
  client.start()
  assert.throws(() => client.finish(old), HandshakeFailed)
})

test('a response serves once', () => {
  const { server, client } = parties()
  const response = answer(server, client.start())
  client.finish(response)
  assert.throws(() => client.finish(response), HandshakeFailed)
})

test('a busy server gets a mac2 under the cookie it sent, and only while the cookie is fresh', () => {
  const { server, client, clock } = parties()
  server.cookie = new Uint8Array(16).fill(7)
  const first = client.start()
  assert.deepEqual(mac2Of(first), ZERO)
  const reply = answer(server, first)
  assert.equal(reply.length, COOKIE_SIZE)
  client.takeCookie(reply)
  const second = client.start()
  assert.notDeepEqual(mac2Of(second), ZERO)
  client.finish(answer(server, second))
  clock.now += 120_000_000_000n
  assert.deepEqual(mac2Of(client.start()), ZERO)
})

test('a cookie that answers another initiation or was altered is refused', () => {
  const { server, client } = parties()
  server.cookie = new Uint8Array(16).fill(7)
  const old = answer(server, client.start())
  client.start()
  assert.throws(() => client.takeCookie(old), HandshakeFailed)
  const reply = answer(server, client.start())
  reply[40] = (reply[40] ?? 0) ^ 1
  assert.throws(() => client.takeCookie(reply), HandshakeFailed)
})

test('TAI64N reads as its definition says', () => {
  // https://cr.yp.to/libtai/tai64.html: 40000000 2a2b2c2d is 1992-06-02 08:07:09 TAI.
  const tai = BigInt(Date.UTC(1992, 5, 2, 8, 7, 9)) * 1_000_000n
  assert.equal(Buffer.from(tai64n(tai - 10_000_000_000n + 5n)).toString('hex'), '400000002a2b2c2d00000005')
})

test('timestamps of two initiations grow also within one millisecond', () => {
  const server = new Responder(null)
  const keys = { privateKey: generateKeyPair().privateKey, serverPublicKey: server.keys.publicKey, presharedKey: null }
  const initiations = Array.from({ length: 40 }, () => new Initiator(keys).start())
  let last = Buffer.alloc(12)
  for (const initiation of initiations) {
    answer(server, initiation)
    const stamp = Buffer.from(server.seen?.timestamp ?? [])
    assert.ok(Buffer.compare(stamp, last) > 0)
    last = stamp
  }
})

test('keys that are none are refused', () => {
  const good = { ...parties(), privateKey: generateKeyPair().privateKey, serverPublicKey: generateKeyPair().publicKey }
  const zero = Buffer.alloc(32).toString('base64')
  assert.throws(() => new Initiator({ ...good, presharedKey: null, serverPublicKey: zero }), InvalidValue)
  assert.throws(() => new Initiator({ ...good, presharedKey: null, privateKey: 'x' }), InvalidValue)
  assert.throws(() => new Initiator({ ...good, presharedKey: 'x' }), InvalidValue)
})
