import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HandshakeFailed } from '../errors.ts'
import { echoRequest } from '../testing/icmp.ts'
import { Session } from './session.ts'

function pair(): { a: Session; b: Session } {
  const [one, two] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)]
  return {
    a: new Session({ localIndex: 10, remoteIndex: 20, sendKey: one, receiveKey: two }),
    b: new Session({ localIndex: 20, remoteIndex: 10, sendKey: two, receiveKey: one }),
  }
}

test('packets of every length arrive as they were, padded to 16 bytes on the way', () => {
  const { a, b } = pair()
  for (let size = 0; size < 40; size++) {
    const packet = echoRequest('10.0.0.2', '10.0.0.1', 'x'.repeat(size))
    const message = a.encrypt(packet)
    assert.equal(message.length % 16, 0)
    assert.deepEqual(Buffer.from(b.decrypt(message)), Buffer.from(packet))
  }
  const six = new Uint8Array(45)
  six[0] = 0x60
  six[5] = 5
  assert.deepEqual(b.decrypt(a.encrypt(six)), six)
})

test('a keepalive is 32 bytes and gives no packet', () => {
  const { a, b } = pair()
  const keepalive = a.encrypt()
  assert.equal(keepalive.length, 32)
  assert.equal(b.decrypt(keepalive).length, 0)
})

test('every message is taken once, in whatever order they come', () => {
  const { a, b } = pair()
  const messages = Array.from({ length: 200 }, () => a.encrypt())
  for (const i of [5, 0, 199, 3, 150, 198]) b.decrypt(messages[i] ?? assert.fail())
  for (const i of [5, 0, 199, 3, 150, 198])
    assert.throws(() => b.decrypt(messages[i] ?? assert.fail()), HandshakeFailed)
  for (const i of [1, 2, 4, 6, 149, 151, 197]) b.decrypt(messages[i] ?? assert.fail())
})

test('a message more than 1,023 behind the newest is refused', () => {
  const { a, b } = pair()
  const messages = Array.from({ length: 1100 }, () => a.encrypt())
  b.decrypt(messages[1099] ?? assert.fail())
  b.decrypt(messages[1099 - 1023] ?? assert.fail())
  assert.throws(() => b.decrypt(messages[1099 - 1024] ?? assert.fail()), HandshakeFailed)
})

test('a forged message is refused and does not move the window', () => {
  const { a, b } = pair()
  const message = a.encrypt()
  const forged = Uint8Array.from(message)
  forged.set([255, 255, 255, 255, 255], 8)
  assert.throws(() => b.decrypt(forged), HandshakeFailed)
  for (const byte of [0, 4, 16, 31]) {
    const bad = Uint8Array.from(message)
    bad[byte] = (bad[byte] ?? 0) ^ 1
    assert.throws(() => b.decrypt(bad), HandshakeFailed, `byte ${byte}`)
  }
  assert.equal(b.decrypt(message).length, 0)
  assert.throws(() => b.decrypt(new Uint8Array(31)), HandshakeFailed)
})

test('what is no IP packet is refused although it is genuine', () => {
  const { a, b } = pair()
  const tooLong = echoRequest('10.0.0.2', '10.0.0.1', 'abc')
  tooLong.set([0x7f, 0xff], 2)
  for (const packet of [new Uint8Array(40).fill(0x15), Uint8Array.of(0x45), tooLong])
    assert.throws(() => b.decrypt(a.encrypt(packet)), HandshakeFailed)
})
