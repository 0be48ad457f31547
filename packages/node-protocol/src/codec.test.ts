import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { MAX_MESSAGE_BYTES, parseNodeMessage, parseServerMessage } from './index.ts'

const key = `${'A'.repeat(43)}=`
const peer = { public_key: key, preshared_key: key, allowed_ips: ['10.77.0.2/32'] }
const snapshot = (peers: unknown[], more: object = {}) =>
  JSON.stringify({ type: 'snapshot', revision: '7', complete: true, count: peers.length, peers, empty: [], ...more })

test('a message that fits its schema is read, from text and from bytes', () => {
  const text = snapshot([{ slot: 1, version: 2, peer }])
  assert.deepEqual(parseServerMessage(Buffer.from(text)), parseServerMessage(text))
  assert.equal(parseServerMessage(text).ok, true)
  assert.equal(parseNodeMessage('{"type":"resync","reason":"gap"}').ok, true)
})

test('what is no message is refused without an exception', () => {
  for (const text of ['', 'null', '[]', '"x"', '{', '{"type":7}', '{"type":"__proto__"}', '\u0000'])
    assert.equal(parseServerMessage(text).ok, false, text)
  fc.assert(fc.property(fc.string(), (text) => assert.equal(parseNodeMessage(text).ok, false)))
  fc.assert(fc.property(fc.json(), (text) => assert.equal(parseNodeMessage(text).ok, false)))
})

test('unknown fields, wrong kinds and numbers out of range are refused', () => {
  const bad = [
    snapshot([{ slot: 70000, version: 2, peer }]),
    snapshot([{ slot: 1, version: 1.5, peer }]),
    snapshot([{ slot: 1, version: 2, peer: { ...peer, email: 'a@b' } }]),
    snapshot([{ slot: 1, version: 2, peer: { ...peer, public_key: 'short' } }]),
    snapshot([{ slot: 1, version: 2, peer: { ...peer, allowed_ips: [] } }]),
    snapshot([], { revision: '-1' }),
    snapshot([], { revision: 7 }),
    snapshot([], { complete: 'true' }),
    '{"type":"counted","seq":1,"__proto__":{"seq":2}}',
  ]
  for (const text of bad) assert.equal(parseServerMessage(text).ok, false, text)
})

test('exits are at most eight addresses in their one spelling', () => {
  const exits = (...addresses: unknown[]) => parseNodeMessage(JSON.stringify({ type: 'exits', addresses })).ok
  assert.ok(exits())
  assert.ok(exits('203.0.113.1', '2001:db8::1'))
  const bad = ['203.0.113.01', '203.0.113.1/32', '2001:DB8::1', '2001:db8:0::1', 'fe80::1%eth0', 'vpn.example', '', 7]
  for (const text of bad) assert.equal(exits(text), false, String(text))
  assert.equal(exits(...Array<string>(9).fill('203.0.113.1')), false)
})

test('a type of a newer version is told apart from a broken message', () => {
  assert.deepEqual(parseServerMessage('{"type":"post_quantum"}'), {
    ok: false,
    error: 'unknown type',
    unknown_type: true,
  })
  const broken = parseServerMessage('{"type":"watch","slots":["1"]}')
  assert.equal(!broken.ok && !broken.unknown_type, true)
})

test('an error names the place and never the content', () => {
  const parsed = parseServerMessage(snapshot([{ slot: 1, version: 2, peer: { ...peer, preshared_key: 'secret' } }]))
  assert.deepEqual(parsed, {
    ok: false,
    error: 'snapshot.peers.0.peer.preshared_key: invalid_format',
    unknown_type: false,
  })
})

test('a message over the limit is refused before it is read', () => {
  const parsed = parseNodeMessage(Buffer.alloc(MAX_MESSAGE_BYTES + 1, 32))
  assert.equal(!parsed.ok && parsed.error, `message of ${MAX_MESSAGE_BYTES + 1} bytes`)
})
