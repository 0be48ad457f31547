import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { KernelOp, KernelResult } from '@prime-vpn/node-protocol'
import { DriverFailed, type PeerOp, type PeerState } from '@prime-vpn/wireguard'
import { flusherOf } from './flusher.ts'
import { knowing } from './held-keys.ts'
import { kernelQueue } from './kernel-queue.ts'

const address = (n: number): string => `10.77.4.${n}/32`
const set = (n: number, key = `k${n}`, fresh = true): KernelOp => ({
  op: 'set',
  slot: n,
  version: 1,
  peer: { public_key: key, preshared_key: 'p', allowed_ips: [address(n)] },
  fresh,
})
const remove = (n: number, key = `k${n}`): KernelOp => ({
  op: 'remove',
  slot: n,
  version: 2,
  public_key: key,
  allowed_ips: [address(n)],
})
const reset = (n: number): KernelOp => ({ ...set(n), op: 'reset' }) as KernelOp

type Deferred = { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void }
const deferred = (): Deferred => Promise.withResolvers<void>()

/** A queue on a WireGuard of lists, with the diary of what reached it. */
function setUp(o: { flush?: () => Promise<void>; held?: string[]; badKey?: string } = {}) {
  const diary: string[] = []
  const peers = new Map((o.held ?? []).map((key) => [key, 7n]))
  const driver = {
    exists: async () => true,
    apply: async (ops: PeerOp[]) => {
      diary.push(ops.map((op) => `${op.op} ${op.op === 'set' ? op.peer.publicKey : op.publicKey}`).join(', '))
      for (const op of ops) {
        const key = op.op === 'set' ? op.peer.publicKey : op.publicKey
        if (key === o.badKey) throw new DriverFailed('bad')
        if (op.op === 'set' && !peers.has(key)) peers.set(key, 0n)
        if (op.op === 'remove') peers.delete(key)
      }
    },
    dump: async () => {
      diary.push('dump')
      const state = [...peers].map(([publicKey, rx]): PeerState => ({
        publicKey,
        presharedKey: null,
        allowedIps: [],
        endpoint: null,
        rx,
        tx: 1n,
        handshakeAt: 5,
      }))
      return { publicKey: 'n', listenPort: 1, peers: state }
    },
  }
  const answers = new Map<number, KernelResult[]>()
  const order: number[] = []
  const flusher = flusherOf(async (addresses) => {
    diary.push(`flush ${addresses.join(' ')}`)
    await o.flush?.()
  })
  const known = knowing(driver)
  const queue = kernelQueue({
    driver: known,
    flusher,
    done: (batch, results) => {
      order.push(batch)
      answers.set(batch, results)
    },
  })
  return { queue, diary, answers, order, driver: known, peers }
}

test('adding peers reads nothing once it is known who is held', async () => {
  const { queue, diary, driver, answers } = setUp()
  await driver.dump()
  queue.push(1, [set(2), set(3)])
  await queue.idle()
  assert.deepEqual(diary, ['dump', 'set k2, set k3'])
  assert.deepEqual(answers.get(1), [
    { ok: true, last: null },
    { ok: true, last: null },
  ])
})

test('a removal mutes before it reads, and is told only when the flows are forgotten', async () => {
  const { queue, diary, driver, answers } = setUp({ held: ['k2'] })
  await driver.dump()
  queue.push(1, [remove(2)])
  await queue.idle()
  assert.deepEqual(diary, ['dump', 'mute k2', 'dump', 'remove k2', `flush ${address(2)}`])
  assert.deepEqual(answers.get(1), [{ ok: true, last: { rx: 7n, tx: 1n, handshake_at: 5 } }])
})

test('however many leave at once, the counters are read once, and those who come are set before that', async () => {
  const { queue, diary, driver } = setUp({ held: ['k2', 'k3', 'k4'] })
  await driver.dump()
  queue.push(1, [remove(9, 'k9')])
  queue.push(2, [remove(2), remove(3)])
  queue.push(3, [remove(4)])
  queue.push(4, [set(5)])
  await queue.idle()
  const writes = diary.filter((line) => !line.startsWith('flush'))
  assert.deepEqual(writes.slice(1, 5), ['mute k9', 'dump', 'remove k9', 'mute k2, mute k3, mute k4, set k5'])
  assert.equal(diary.filter((line) => line === 'dump').length, 3)
})

test('additions are told while the flows of those who left are still being forgotten', async () => {
  const slow = deferred()
  const { queue, order, driver } = setUp({ held: ['k2'], flush: () => slow.promise })
  await driver.dump()
  queue.push(1, [remove(2)])
  queue.push(2, [set(5)])
  queue.push(3, [set(6)])
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(order, [2, 3])
  slow.resolve()
  await queue.idle()
  assert.deepEqual(order, [2, 3, 1])
})

test('an address goes to its next holder only after the flows of the last one are forgotten', async () => {
  const slow = deferred()
  const { queue, diary, driver } = setUp({ held: ['k2'], flush: () => slow.promise })
  await driver.dump()
  queue.push(1, [remove(2)])
  queue.push(2, [set(2, 'other')])
  await new Promise((resolve) => setImmediate(resolve))
  assert.ok(!diary.some((line) => line.includes('set other')))
  slow.resolve()
  await queue.idle()
  assert.equal(diary.at(-1), 'set other')
})

test('orders about one key are carried out in their sequence', async () => {
  const { queue, diary, driver } = setUp()
  await driver.dump()
  queue.push(1, [set(2), remove(2), set(3, 'k2')])
  await queue.idle()
  const writes = diary.filter((line) => /set|remove/.test(line))
  assert.deepEqual(writes, ['set k2', 'remove k2', 'set k2'])
})

test('a peer that must begin anew and is held gives its counters, and goes and comes in one write', async () => {
  const { queue, diary, driver, answers } = setUp({ held: ['k2', 'k3'] })
  await driver.dump()
  queue.push(1, [reset(2), set(3, 'k3', true)])
  await queue.idle()
  assert.deepEqual(diary, ['dump', 'dump', 'remove k2, set k2, remove k3, set k3'])
  assert.deepEqual(
    answers.get(1)?.map(({ last }) => last?.rx),
    [7n, 7n],
  )
})

test('one bad order does not take the others with it', async () => {
  const { queue, driver, answers } = setUp({ badKey: 'k3' })
  await driver.dump()
  queue.push(1, [set(2), set(3), set(4)])
  await queue.idle()
  assert.deepEqual(
    answers.get(1)?.map(({ ok }) => ok),
    [true, false, true],
  )
})

test('without counters nobody is removed, and without a flush nobody is told to be gone', async () => {
  const mute = setUp({ held: ['k2'] })
  await mute.driver.dump()
  mute.driver.dump = () => Promise.reject(new DriverFailed('no'))
  mute.queue.push(1, [remove(2)])
  await mute.queue.idle()
  assert.equal(mute.answers.get(1)?.[0]?.ok, false)
  assert.ok(mute.peers.has('k2'))

  const stuck = setUp({ held: ['k2'], flush: () => Promise.reject(new Error('no')) })
  stuck.queue.push(1, [remove(2)])
  await stuck.queue.idle()
  assert.equal(stuck.answers.get(1)?.[0]?.ok, false)
})

test('a task waits for the orders before it and holds up those after it', async () => {
  const { queue, diary, driver } = setUp()
  await driver.dump()
  queue.push(1, [set(2)])
  queue.between(async () => void diary.push('task'))
  queue.push(2, [set(3)])
  await queue.idle()
  assert.deepEqual(diary, ['dump', 'set k2', 'task', 'set k3'])
})

test('flows that could not be forgotten are part of every later run', async () => {
  const runs: string[][] = []
  let broken = true
  const flusher = flusherOf(async (addresses) => {
    runs.push([...addresses])
    if (broken) throw new Error('no')
  })
  await assert.rejects(flusher.flush(['a']))
  broken = false
  await Promise.all([flusher.flush(['b']), flusher.flush(['c'])])
  await flusher.retry()
  assert.deepEqual(runs, [['a'], ['a', 'b', 'c']])
})
