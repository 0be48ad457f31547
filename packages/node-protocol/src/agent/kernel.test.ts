import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readJournal } from '../agent.ts'
import { Bench, keyOf, peerOf } from '../testing/bench.ts'

const failure = { ok: false, error: 'no buffer space' }

test('only what the kernel confirmed is acknowledged; a failure is told and tried again', () => {
  const node = new Bench().welcome().snapshot(10, {})
  node.onWrite = () => failure
  node.said('applied')
  node.changes(10, 11, [{ slot: 1, version: 1, peer: peerOf(1) }])
  const told = node.said('applied')
  assert.deepEqual(told.at(-1)?.slots, [{ slot: 1, version: 1, ok: false, held: false, error: 'no buffer space' }])
  assert.equal(told.at(-1)?.revision, '10')
  node.onWrite = () => undefined
  node.wait(6000)
  const again = node.said('applied').at(-1)
  assert.deepEqual(again?.slots, [{ slot: 1, version: 1, ok: true, held: true }])
  assert.equal(again?.revision, '11')
})

test('what is wanted is on disk before the kernel is touched', () => {
  const node = new Bench().welcome().snapshot(10, {})
  node.effects.length = 0
  node.changes(10, 11, [{ slot: 1, version: 1, peer: peerOf(1) }])
  const order = node.effects.map(({ type }) => type)
  assert.ok(order.indexOf('persist') < order.indexOf('kernel'))
})

test('a key that moves is removed before it is added, in one batch', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  node.wrote()
  node.changes(10, 11, [
    { slot: 2, version: 1, peer: peerOf(2, 0, 1) },
    { slot: 1, version: 2, peer: null },
  ])
  assert.deepEqual(
    node.wrote().map(({ op }) => op),
    ['remove', 'set'],
  )
})

test('a repair sets the wanted PSK and addresses in place and removes nobody', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1, 2: 1 })
  node.wrote()
  const peer = node.kernel.ofSlot(1)
  const other = node.kernel.ofSlot(2)
  assert.ok(peer && other)
  peer.allowed_ips = ['10.9.9.9/32']
  other.preshared_key = keyOf(5)
  node.wait(61_000)
  assert.deepEqual(
    node.wrote().map((op) => op.op === 'set' && op.fresh),
    [false, false],
  )
  assert.equal(node.kernel.ofSlot(1)?.preshared_key, peerOf(1).preshared_key)
  assert.deepEqual(node.kernel.ofSlot(1)?.allowed_ips, peerOf(1).allowed_ips)
  assert.equal(node.kernel.ofSlot(2)?.preshared_key, peerOf(2).preshared_key)
})

test('another spelling of an address in the kernel is no difference', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  node.wrote()
  const peer = node.kernel.ofSlot(1)
  assert.ok(peer)
  peer.allowed_ips = ['FD00:0::2/128', '10.0.0.1/32']
  node.wait(61_000)
  assert.deepEqual(node.wrote(), [])
})

test('a stranger in the kernel stays until the list is known to be whole, then goes', () => {
  const node = new Bench()
  const stranger = { ...peerOf(9), rx: 1n, tx: 1n, handshake_at: 0, slot: -1, version: 0, shookAt: null }
  node.kernel.peers.set(stranger.public_key, stranger)
  node.welcome()
  node.wait(90_000)
  assert.equal(node.kernel.peers.size, 1)
  node.snapshot(10, { 1: 1 })
  assert.deepEqual(node.slots(), [1])
})

test('nothing is said to be gone while the kernel holds a peer nobody can place', () => {
  const before = new Bench().welcome().snapshot(10, { 9: 1 })
  const node = new Bench({ kernel: before.kernel }).welcome()
  node.onWrite = (op) => (op.op === 'purge' ? failure : undefined)
  node.snapshot(10, {}, { 9: 4 })
  assert.ok(node.said('applied').every(({ revision, slots }) => revision === '0' && slots.length === 0))
  node.onWrite = () => undefined
  node.wait(10_000)
  const applied = node.said('applied')
  assert.deepEqual(applied.at(-1)?.revision, '10')
  assert.deepEqual(node.slots(), [])
})

test('peers of a lost data folder are kept and not counted twice', () => {
  const before = new Bench().welcome().snapshot(10, { 1: 1 })
  before.flow(1, 1000, 2000)
  const node = new Bench({ kernel: before.kernel })
  node.welcome().snapshot(10, { 1: 1 })
  assert.deepEqual(node.wrote(), [])
  node.flow(1, 5, 7)
  node.wait(20_000)
  const reported = node.said('report').flatMap(({ peers }) => peers)
  assert.deepEqual(reported.at(-1) && [reported.at(-1)?.rx, reported.at(-1)?.tx], ['5', '7'])
})

test('after a death between journal and kernel a moved key counts for its new slot from zero', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  node.flow(1, 100, 100)
  let atDeath: Bench | undefined
  node.onWrite = () => {
    atDeath ??= node.reborn()
    return failure
  }
  const move = [
    { slot: 1, version: 2, peer: null },
    { slot: 2, version: 1, peer: peerOf(2, 0, 1) },
  ]
  node.changes(10, 11, move)
  assert.ok(atDeath)
  atDeath.welcome().changes(10, 11, move)
  assert.deepEqual(atDeath.slots(), [2])
  atDeath.flow(2, 7, 7)
  const finals = atDeath.said('applied').flatMap(({ slots }) => slots.flatMap(({ final }) => final?.rx ?? []))
  assert.deepEqual(finals, ['100'])
  atDeath.wait(20_000)
  const last = atDeath.said('report').at(-1)?.peers
  assert.deepEqual(
    last?.map(({ slot, rx }) => [slot, rx]),
    [[2, '7']],
  )
})

test('after such a death the last counters belong to the slot the kernel had, however often the key moved since', () => {
  const node = new Bench().welcome().snapshot(10, { 5: 1 }, { 2: 1 })
  node.flow(5, 100, 100)
  let atDeath: Bench | undefined
  node.onWrite = () => {
    atDeath ??= node.reborn()
    return failure
  }
  node.changes(10, 11, [
    { slot: 5, version: 2, peer: null },
    { slot: 2, version: 2, peer: peerOf(2, 0, 5) },
  ])
  assert.ok(atDeath)
  atDeath.welcome().changes(10, 12, [
    { slot: 5, version: 2, peer: null },
    { slot: 2, version: 3, peer: null },
    { slot: 3, version: 1, peer: peerOf(3, 0, 5) },
  ])
  assert.deepEqual(atDeath.slots(), [3])
  const finals = atDeath.said('applied').flatMap(({ slots }) => slots.flatMap(({ final }) => final ?? []))
  assert.deepEqual(
    finals.map(({ slot, rx }) => [slot, rx]),
    [[5, '100']],
  )
})

test('with a state on disk and no server the peers come back after ten seconds, not before', () => {
  const before = new Bench().welcome().snapshot(10, { 1: 1, 2: 1 })
  before.kernel.recreate()
  const node = before.reborn()
  node.wait(9000)
  assert.deepEqual(node.slots(), [])
  node.wait(2000)
  assert.deepEqual(node.slots(), [1, 2])
})

test('a data folder from a backup lets nobody in again while the server is there', () => {
  const before = new Bench().welcome().snapshot(10, { 1: 1, 2: 1 })
  before.kernel.recreate()
  const node = before.reborn().welcome()
  node.wait(15_000)
  assert.deepEqual(node.slots(), [])
  node.changes(10, 14, [{ slot: 2, version: 2, peer: null }])
  assert.deepEqual(node.slots(), [1])
  assert.ok(node.wrote().every((op) => op.op !== 'set' || op.slot !== 2))
})

test('an agent that starts again over a live kernel touches nothing', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1, 2: 1 }).reborn()
  node.wait(40_000)
  assert.deepEqual(node.wrote(), [])
  node.welcome().changes(10, 10, [])
  assert.deepEqual(node.wrote(), [])
})

test('without a server a stale data folder does not cut off many', () => {
  const held = Object.fromEntries(Array.from({ length: 60 }, (_, slot) => [slot, 1]))
  const old = new Bench().welcome().snapshot(10, { 1: 1 })
  const entries = [...old.journal]
  const kernel = new Bench().welcome().snapshot(20, held).kernel
  const node = new Bench({ entries, kernel })
  node.wait(70_000)
  assert.equal(kernel.peers.size, 60)
  node.welcome().snapshot(20, { 1: 1 })
  assert.equal(kernel.peers.size, 1)
})

test('a torn journal is read up to the tear', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  const text = node.journal.map((entry) => JSON.stringify(entry)).join('\n')
  assert.equal(readJournal(text).length, node.journal.length)
  assert.equal(readJournal(`${text.slice(0, -5)}\n${text}`).length, node.journal.length - 1)
  assert.deepEqual(readJournal('not a journal'), [])
})
