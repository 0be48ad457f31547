import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Bench, keyOf } from '../testing/bench.ts'
import { CONFIG, INSTALLATION } from '../testing/agent-host.ts'

const dials = (node: Bench) => node.effects.flatMap((effect) => (effect.type === 'dial' ? effect.after_ms : []))

test('the first dial waits for the first reading of the kernel and for nothing else', () => {
  const types = new Bench().effects.map(({ type }) => type)
  assert.ok(types.indexOf('read_kernel') < types.indexOf('dial'))
  assert.equal(dials(new Bench())[0], 0)
})

test('a lost link is dialled again with full jitter up to thirty seconds, a good link begins anew', () => {
  const node = new Bench()
  for (let attempt = 0; attempt < 10; attempt++) node.lose(0.999)
  const ceilings = dials(node).slice(1)
  assert.deepEqual(ceilings.slice(0, 4), [999, 1998, 3996, 7992])
  assert.equal(ceilings.at(-1), 29_970)
  node.lose(0)
  assert.equal(dials(node).at(-1), 50)
  node.welcome()
  node.wait(11_000)
  node.lose(0.999)
  assert.equal(dials(node).at(-1), 499)
})

test('the proof tells where the node stands, and nothing before it knows a whole list', () => {
  const node = new Bench().welcome()
  assert.equal(node.said('auth')[0]?.resume, null)
  node.snapshot(10, { 1: 1 }).lose().welcome()
  assert.deepEqual(node.said('auth')[0]?.resume, { installation: INSTALLATION, revision: '10' })
})

test('a server without a common version, or silent before the welcome, is given up', () => {
  const node = new Bench()
  node.step({ type: 'link_opened', link: node.link })
  node.hear({ type: 'challenge', nonce: 'n'.repeat(22), installation: INSTALLATION, versions: [2] })
  assert.equal(node.effects.filter(({ type }) => type === 'close').length, 1)
  node.lose()
  node.step({ type: 'link_opened', link: node.link })
  node.wait(11_000)
  assert.equal(node.effects.filter(({ type }) => type === 'close').length, 2)
})

test('a state message before the welcome changes nothing', () => {
  const node = new Bench()
  node.step({ type: 'link_opened', link: node.link })
  node.snapshot(10, { 1: 1 })
  assert.deepEqual(node.slots(), [])
})

test('a dismissed node leaves its tunnels, stops dialling and exits with code 3', () => {
  const node = new Bench().welcome().snapshot(10, { 1: 1 })
  node.hear({ type: 'dismissed', reason: 'replaced' })
  const exit = node.effects.find((effect) => effect.type === 'exit')
  assert.deepEqual(exit, { type: 'exit', code: 3, reason: 'replaced' })
  const before = dials(node).length
  node.lose()
  node.wait(60_000)
  assert.equal(dials(node).length, before)
  assert.deepEqual(node.slots(), [1])
})

test('a new configuration is applied and kept, the same one is not applied again', () => {
  const node = new Bench().welcome()
  const config = { ...CONFIG, mtu: 1380 }
  node.hear({ type: 'config', config }).hear({ type: 'config', config })
  const applied = node.effects.filter((effect) => effect.type === 'configure' && effect.config.mtu === 1380)
  assert.equal(applied.length, 1)
  const again = node.reborn().effects.find((effect) => effect.type === 'configure')
  assert.deepEqual(again?.type === 'configure' && again.config, config)
})

test('a rotated interface key is told now and in the next proof', () => {
  const node = new Bench().welcome().hear({ type: 'rotate_key' })
  assert.equal(node.effects.filter(({ type }) => type === 'rotate_key').length, 1)
  node.step({ type: 'key_rotated', public_key: keyOf(2) })
  assert.deepEqual(node.said('new_key'), [{ type: 'new_key', public_key: keyOf(2) }])
  node.lose().welcome()
  assert.equal(node.said('auth')[0]?.agent.public_key, keyOf(2))
})

test('the exits are told once on each link and again when they change', () => {
  const node = new Bench()
  const exits = (...addresses: string[]) => node.step({ type: 'exits', addresses })
  exits('203.0.113.1')
  assert.equal(node.said('exits').length, 0, 'nobody is told before the welcome')
  node.welcome()
  exits('203.0.113.1')
  exits('203.0.113.1')
  assert.deepEqual(node.said('exits'), [{ type: 'exits', addresses: ['203.0.113.1'] }])
  exits()
  assert.deepEqual(node.said('exits'), [{ type: 'exits', addresses: [] }])
  node.lose().welcome()
  exits()
  assert.equal(node.said('exits').length, 1)
})

test('a node that cannot use what it gets asks for a snapshot at most every five seconds', () => {
  const node = new Bench().welcome()
  for (let count = 0; count < 10; count++) node.changes(0, 1, [])
  assert.equal(node.said('resync').length, 1)
  node.wait(6000)
  assert.equal(node.said('resync').length, 1)
})

test('a kernel that cannot be read is read again a second later', () => {
  const node = new Bench()
  node.effects.length = 0
  node.step({ type: 'kernel_unreadable', error: 'busy' })
  node.wait(1000)
  assert.equal(node.effects.filter(({ type }) => type === 'read_kernel').length, 1)
})
