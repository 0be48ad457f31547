import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Adaptive, STEPS, THRESHOLDS, type Traffic } from './adaptive.ts'

// A server that can do CAPACITY requests a second: what comes above queues, and the event loop's delay grows with the
// queue. Each kind of traffic offers what it wants; the limits let a share of the anonymous and free traffic through.
const CAPACITY = 1_000
const KINDS: Traffic[] = ['anonymous', 'free', 'premium']

function simulate(adaptive: Adaptive, offered: Record<Traffic, number>, seconds: number, queue = 0) {
  const steps: number[] = []
  const delays: number[] = []
  for (let second = 0; second < seconds; second++) {
    const admitted = KINDS.reduce((sum, kind) => sum + offered[kind] * adaptive.factor(kind), 0)
    queue = Math.max(0, queue + admitted - CAPACITY)
    // Busy at all costs a little; a queue costs its length. A hundred requests waiting are a tenth of a second.
    const loopDelayMs = 10 + 30 * Math.min(1, admitted / CAPACITY) + (queue / CAPACITY) * 1_000
    queue = Math.min(queue, 3 * CAPACITY) // the rest has timed out
    adaptive.observe({ loopDelayMs, databaseMs: 5 })
    steps.push(adaptive.step)
    delays.push(loopDelayMs)
  }
  return { steps, delays, queue }
}

const changes = (steps: number[]) => steps.filter((step, i) => i > 0 && step !== steps[i - 1]).length

test('overload shrinks anonymous limits first, holds paying customers whole, and the delay comes down', () => {
  const adaptive = new Adaptive()
  const { delays } = simulate(adaptive, { anonymous: 2_500, free: 200, premium: 200 }, 60)
  assert.ok(delays.slice(0, 3).some((ms) => ms > THRESHOLDS.loopDelayMs[0]))
  assert.ok(adaptive.step > 0)
  assert.equal(adaptive.factor('premium'), 1)
  assert.ok(adaptive.factor('anonymous') < adaptive.factor('free') || adaptive.factor('free') === 1)
  assert.ok(Math.max(...delays.slice(-10)) < THRESHOLDS.loopDelayMs[0])
})

test('under a load that stays, it tries to recover more and more rarely instead of swinging', () => {
  const adaptive = new Adaptive()
  const { steps } = simulate(adaptive, { anonymous: 2_500, free: 200, premium: 200 }, 1_800)
  const firstFive = changes(steps.slice(0, 300))
  const lastFive = changes(steps.slice(-300))
  assert.ok(lastFive <= firstFive, `${firstFive} changes at first, ${lastFive} at the end`)
  assert.ok(lastFive <= 4, `${lastFive} changes in five minutes`)
})

test('when the load has gone the limits come back step by step, and stay', () => {
  const adaptive = new Adaptive()
  const { queue } = simulate(adaptive, { anonymous: 6_000, free: 1_500, premium: 200 }, 120)
  assert.ok(adaptive.step >= 2)
  const { steps } = simulate(adaptive, { anonymous: 100, free: 100, premium: 100 }, 900, queue)
  assert.equal(steps.at(-1), 0)
  assert.ok(
    steps.every((step, i) => i === 0 || step <= (steps[i - 1] ?? 0)),
    'it never turns back up',
  )
})

test('a short spike changes nothing, nor does a delay between the thresholds', () => {
  const adaptive = new Adaptive()
  adaptive.observe({ loopDelayMs: 900, databaseMs: 5 })
  for (let i = 0; i < 100; i++) adaptive.observe({ loopDelayMs: 80, databaseMs: 120 })
  assert.equal(adaptive.step, 0)
})

test('a slow database shrinks limits too, and an unknown latency is no pressure', () => {
  const adaptive = new Adaptive()
  for (let i = 0; i < 4; i++) adaptive.observe({ loopDelayMs: 1, databaseMs: 900 })
  assert.equal(adaptive.step, 2)
  for (let i = 0; i < 200; i++) adaptive.observe({ loopDelayMs: 1, databaseMs: null })
  assert.equal(adaptive.step, 0)
})

test('switched off it never moves', () => {
  const adaptive = new Adaptive(false)
  for (let i = 0; i < 50; i++) adaptive.observe({ loopDelayMs: 5_000, databaseMs: 5_000 })
  assert.equal(adaptive.step, 0)
})

test('each step takes from anonymous at least what it takes from free, and from free what it takes from premium', () => {
  for (const { anonymous, free, premium } of STEPS) assert.ok(anonymous <= free && free <= premium && anonymous > 0)
})
