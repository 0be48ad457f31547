import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ServerMessage } from '../messages.ts'
import { Bench, keyOf, peerOf } from '../testing/bench.ts'

type Snapshot = Extract<ServerMessage, { type: 'snapshot' }>

const OTHER = '00000000-0000-4000-8000-000000000002'
const many = (count: number, version = 1) =>
  Object.fromEntries(Array.from({ length: count }, (_, slot) => [slot, version]))

test('changing one peer touches one peer, and its acknowledgement tells what the kernel holds', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1, 2: 1 })
  node.wrote()
  node.said('applied')
  node.changes(10, 12, [{ slot: 3, version: 1, peer: peerOf(3) }])
  assert.deepEqual(
    node.wrote().map(({ op }) => op),
    ['set'],
  )
  assert.deepEqual(node.slots(), [1, 2, 3])
  const [first, second] = node.said('applied')
  assert.deepEqual(first, { type: 'applied', revision: '10', complete: false, slots: [] })
  assert.deepEqual(second?.slots, [{ slot: 3, version: 1, ok: true, held: true }])
  assert.equal(second?.revision, '12')
})

test('an older or repeated version changes nothing and is answered with what the kernel holds', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 5 })
  node.wrote()
  node.said('applied')
  node.changes(10, 11, [{ slot: 1, version: 5, peer: peerOf(1, 7) }])
  node.changes(10, 11, [{ slot: 1, version: 4, peer: null }])
  assert.deepEqual(node.wrote(), [])
  const acknowledged = node.said('applied').flatMap(({ slots }) => slots)
  assert.deepEqual(acknowledged, [
    { slot: 1, version: 5, ok: true, held: true },
    { slot: 1, version: 5, ok: true, held: true },
  ])
})

test('a removal beats an older add that comes later', () => {
  const node = new Bench().welcome().snapshot(10, {})
  node.changes(10, 12, [{ slot: 1, version: 2, peer: null }])
  node.changes(10, 11, [{ slot: 1, version: 1, peer: peerOf(1) }])
  assert.deepEqual(node.slots(), [])
})

test('many single removals pass, one message with many is refused whole until a snapshot says it is complete', () => {
  const node = new Bench().welcome().snapshot(10, many(100))
  for (let slot = 0; slot < 40; slot++) node.changes(10, 10, [{ slot, version: 2, peer: null }])
  assert.equal(node.slots().length, 60)
  node.said('resync')
  const removals = Array.from({ length: 21 }, (_, index) => ({ slot: 40 + index, version: 2, peer: null }))
  node.changes(10, 11, [...removals, { slot: 200, version: 1, peer: peerOf(200) }])
  assert.equal(node.slots().length, 60)
  assert.deepEqual(node.said('resync'), [{ type: 'resync', reason: 'too many removals' }])
  node.snapshot(12, { 99: 1 }, Object.fromEntries(removals.map(({ slot, version }) => [slot, version])))
  assert.deepEqual(node.slots(), [99])
})

test('a move of many keys at once is no mass removal', () => {
  const node = new Bench().welcome().snapshot(10, many(30))
  const moves = Array.from({ length: 30 }, (_, slot) => [
    { slot, version: 2, peer: null },
    { slot: slot + 100, version: 1, peer: peerOf(slot + 100, 0, slot) },
  ])
  node.changes(10, 11, moves.flat())
  assert.equal(node.slots()[0], 100)
  assert.equal(node.kernel.peers.size, 30)
})

test('a snapshot that is not complete, miscounted or contradicts itself changes nothing', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1, 2: 1 })
  node.wrote()
  const peers = [{ slot: 5, version: 9, peer: peerOf(5) }]
  const twin = [...peers, { slot: 6, version: 9, peer: { ...peerOf(6), public_key: keyOf(5) } }]
  const base: Snapshot = { type: 'snapshot', revision: '20', complete: true, count: 1, peers, empty: [] }
  const bad: Snapshot[] = [
    { ...base, complete: false },
    { ...base, count: 0 },
    { ...base, peers: [], count: 5 },
    { ...base, peers: twin, count: 2 },
    { ...base, empty: [{ slot: 5, version: 10 }] },
    { ...base, complete: false, peers: [], count: 0 },
  ]
  for (const message of bad) {
    node.said('resync')
    node.mono += 6000
    node.hear(message)
    assert.equal(node.said('resync').length, 1)
  }
  assert.deepEqual(node.slots(), [1, 2])
  assert.deepEqual(node.wrote(), [])
})

test('a slot that is newer than a snapshot wins against it', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  node.changes(10, 15, [
    { slot: 1, version: 3, peer: null },
    { slot: 2, version: 2, peer: peerOf(2) },
  ])
  node.snapshot(12, { 1: 2 }, { 2: 1 })
  assert.deepEqual(node.slots(), [2])
})

test('a held slot that a newer snapshot does not name goes, and an older snapshot takes nothing', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1, 2: 1 })
  node.snapshot(9, { 1: 1 })
  assert.deepEqual(node.slots(), [1, 2])
  node.snapshot(11, { 1: 1 })
  assert.deepEqual(node.slots(), [1])
})

test('when changes are missing the revision stays and a snapshot is asked for', () => {
  const node = new Bench().welcome().snapshot(10, {})
  node.said('applied')
  node.changes(20, 21, [{ slot: 1, version: 1, peer: peerOf(1) }])
  assert.equal(node.sent.filter(({ type }) => type === 'resync').length, 1)
  assert.equal(node.said('applied').at(-1)?.revision, '10')
})

test('a key or an address that another slot keeps is refused until that slot lets go', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  node.said('applied')
  node.changes(10, 11, [{ slot: 2, version: 1, peer: peerOf(2, 0, 1) }])
  assert.deepEqual(node.said('applied')[0]?.slots, [
    { slot: 2, version: 1, ok: false, held: false, error: 'key or address in use' },
  ])
  assert.deepEqual(node.slots(), [1])
  node.changes(10, 12, [
    { slot: 2, version: 1, peer: peerOf(2, 0, 1) },
    { slot: 1, version: 2, peer: null },
  ])
  assert.deepEqual(node.slots(), [2])
})

test('another installation changes nothing until its snapshot comes, then its versions count', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 9, 2: 9 }).lose()
  node.welcome(OTHER)
  assert.equal(node.said('auth').at(-1)?.resume, null)
  node.changes(0, 5, [{ slot: 1, version: 99, peer: null }])
  assert.deepEqual(node.slots(), [1, 2])
  node.snapshot(3, { 2: 1, 4: 1 })
  assert.deepEqual(node.slots(), [2, 4])
  node.changes(3, 4, [{ slot: 2, version: 2, peer: null }])
  assert.deepEqual(node.slots(), [4])
})

test('nothing the server leaves undone removes a peer: silence, loss, empty lists, refusals', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1, 2: 1 })
  node.changes(10, 10, [])
  node.wait(120_000)
  for (let attempt = 0; attempt < 5; attempt++) {
    node.lose().welcome().changes(10, 10, [])
    node.step({ type: 'link_invalid', link: node.link, reason: 'not JSON' })
  }
  node.lose()
  node.wait(120_000)
  assert.deepEqual(node.slots(), [1, 2])
})

test('a message of an earlier socket changes nothing', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  const old = node.link
  node.lose().welcome()
  const changes = [{ slot: 1, version: 2, peer: null }]
  node.step({ type: 'link_message', link: old, message: { type: 'changes', since: '10', revision: '11', changes } })
  assert.deepEqual(node.slots(), [1])
})
