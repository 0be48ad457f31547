import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Bench, peerOf } from '../testing/bench.ts'

/** What a node reported since last asked: slot -> rx of the last report. */
function reported(node: Bench): Record<number, string> {
  const peers = node.said('report').flatMap((report) => report.peers)
  return Object.fromEntries(peers.map(({ slot, rx }) => [slot, rx]))
}

test('watched slots are reported every second, others every fifteen, and only when they changed', () => {
  const node = new Bench()
    .welcome()
    .snapshot(10, { 1: 1, 2: 1 })
    .hear({ type: 'watch', slots: [1] })
  node.wait(16_000)
  reported(node)
  node.flow(1, 10, 10)
  node.flow(2, 20, 20)
  node.wait(2000)
  assert.deepEqual(reported(node), { 1: '10' })
  node.wait(1000)
  assert.deepEqual(reported(node), {})
  node.wait(15_000)
  assert.deepEqual(reported(node), { 2: '20' })
})

test('the watch list ends with its link', () => {
  const node = new Bench()
    .welcome()
    .snapshot(10, { 1: 1 })
    .hear({ type: 'watch', slots: [1] })
  node.lose().welcome().changes(10, 10, [])
  node.wait(16_000)
  reported(node)
  node.flow(1, 10, 10)
  node.wait(3000)
  assert.deepEqual(reported(node), {})
})

test('on a new link everything not counted yet is reported at once, what was counted is not', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1, 2: 1 })
  node.flow(1, 10, 10)
  node.wait(16_000)
  const { seq } = node.said('report').at(-1) ?? { seq: 0 }
  node.hear({ type: 'counted', seq })
  node.flow(2, 20, 20)
  node.wait(16_000)
  assert.deepEqual(reported(node), { 2: '20' })
  node.lose().welcome().changes(10, 10, [])
  assert.deepEqual(reported(node), { 2: '20' })
})

test('the last counters of a removed peer come with its acknowledgement, and again until they are counted', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  node.flow(1, 70, 80)
  node.said('applied')
  node.changes(10, 11, [{ slot: 1, version: 2, peer: null }])
  const final = node.said('applied').at(-1)?.slots[0]?.final
  assert.deepEqual([final?.version, final?.rx, final?.tx], [1, '70', '80'])
  node.lose().welcome().changes(11, 11, [])
  assert.deepEqual(reported(node), { 1: '70' })
  const next = node.reborn().welcome().changes(11, 11, [])
  const [report] = next.said('report')
  assert.deepEqual(report?.peers, [final])
  next.hear({ type: 'counted', seq: report?.seq ?? 0 })
  next.lose().welcome().changes(11, 11, [])
  assert.deepEqual(reported(next), {})
})

test('an agent that starts again goes on in the same epoch', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  node.flow(1, 10, 10)
  node.wait(16_000)
  const before = node.said('report').at(-1)?.peers[0]
  const next = node.reborn().welcome().changes(10, 10, [])
  assert.deepEqual(next.said('report')[0]?.peers, [before])
})

test('a new interface begins new epochs; what the old one counted is reported first', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  node.flow(1, 10, 10)
  node.wait(16_000)
  node.said('report')
  node.lose()
  node.kernel.recreate()
  node.wait(16_000)
  node.flow(1, 3, 3)
  node.wait(16_000)
  node.welcome().changes(10, 10, [])
  const peers = node.said('report')[0]?.peers ?? []
  assert.deepEqual(
    peers.map(({ rx }) => rx),
    ['10', '3'],
  )
  assert.ok((peers[1]?.epoch ?? 0) > (peers[0]?.epoch ?? 0))
})

test('a peer that somebody removed by hand comes back in a new epoch, also when the wall clock went back', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  node.flow(1, 10, 10)
  node.wait(16_000)
  const before = node.said('report').at(-1)?.peers[0]
  node.kernel.peers.clear()
  node.wall -= 3_600_000
  for (let waited = 0; waited < 70 && !node.kernel.ofSlot(1); waited++) node.wait(1000)
  // More than before, so that the counter itself does not show the new beginning.
  node.flow(1, 30, 30)
  node.wait(16_000)
  const after = node.said('report').at(-1)?.peers[0]
  assert.equal(after?.rx, '30')
  assert.ok((after?.epoch ?? 0) > (before?.epoch ?? 0))
})

test('an endpoint is forgotten between 180 and 195 s after the handshake, once, and every byte stays counted', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  node.wrote()
  node.flow(1, 10, 20)
  node.wait(179_000)
  assert.deepEqual(node.wrote(), [])
  node.wait(15_000)
  assert.deepEqual(
    node.wrote().map(({ op }) => op),
    ['reset'],
  )
  assert.equal(node.kernel.ofSlot(1)?.preshared_key, peerOf(1).preshared_key)
  node.said('report')
  node.flow(1, 1, 1)
  node.wait(16_000)
  const after = node.said('report').at(-1)?.peers[0]
  assert.deepEqual([after?.rx, after?.tx], ['11', '21'])
  node.wait(120_000)
  assert.deepEqual(node.wrote(), [])
})

test('a step of the wall clock forgets no endpoint of a session that lives', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  node.wait(16_000)
  node.wrote()
  node.flow(1, 1, 1)
  node.wall += 3_600_000
  node.wait(60_000)
  assert.deepEqual(node.wrote(), [])
})

for (const [when, done] of [
  ['before', false],
  ['after', true],
] as const) {
  test(`a process that dies just ${when} it forgot an endpoint loses and doubles no byte`, () => {
    const node = new Bench().welcome().snapshot(10, { 1: 1 })
    node.flow(1, 100, 100)
    node.onWrite = (op) => {
      if (op.op !== 'reset') return undefined
      if (done) node.kernel.write(op, null, () => {})
      return { ok: false, error: 'died' }
    }
    node.wait(16_000)
    // The journal of the moment at which the reset was begun.
    for (let waited = 0; waited < 200 && !node.wrote().some(({ op }) => op === 'reset'); waited++) node.wait(1000)
    const next = node.reborn().welcome().changes(10, 10, [])
    next.flow(1, 5, 5)
    next.wait(16_000)
    assert.equal(next.said('report').at(-1)?.peers.at(-1)?.rx, '105')
  })
}
