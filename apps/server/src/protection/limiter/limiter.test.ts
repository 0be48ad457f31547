import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import fc from 'fast-check'
import { Redis } from 'ioredis'
import { defer, noRedis, testRedis } from '../../platform/testing/index.ts'
import type { Limit, Limiter, Standing, Wish } from './limiter.ts'
import { MemoryLimiter } from './memory.ts'
import { RedisLimiter } from './redis.ts'

// One suite for both twins, judged by a model that keeps every admitted time and looks at all of them.

type Twin = { limiter: Limiter; clock: { now: number } }

const START = 1_000_000

function memoryTwin(t: TestContext): Twin {
  const clock = { now: START }
  const limiter = new MemoryLimiter(() => clock.now)
  defer(t, () => limiter.close())
  return { limiter, clock }
}

async function redisTwin(t: TestContext): Promise<Twin> {
  const server = await testRedis(t)
  const client = new Redis(server.url, { enableAutoPipelining: true })
  defer(t, () => client.disconnect())
  const clock = { now: START }
  return { limiter: new RedisLimiter(client, 'test:', () => clock.now), clock }
}

class Model {
  readonly admitted: number[] = []
  readonly #limit: Limit
  constructor(limit: Limit) {
    this.#limit = limit
  }
  fits(now: number, extra = 1): boolean {
    const { limit, burst, windowMs } = this.#limit
    const inWindow = this.admitted.filter((at) => at > now - windowMs).length
    if (inWindow + extra > limit + burst) return false
    // For every earlier request: what came since, with this one, is at most limit+burst and what leaks meanwhile.
    return this.admitted.every(
      (at, i) => (this.admitted.length - i + extra) * windowMs <= (limit + burst) * windowMs + (now - at) * limit,
    )
  }
  remaining(now: number): number {
    let room = 0
    while (room < this.#limit.limit + this.#limit.burst && this.fits(now, room + 1)) room++
    return room
  }
}

// Keys in Redis expire by real time whatever the test's clock says: there a window is seconds, not milliseconds.
const windows = { memory: 1, redis: 10_000 }
const limitsOf = (unit: number) =>
  fc.record({
    limit: fc.integer({ min: 1, max: 7 }),
    burst: fc.integer({ min: 0, max: 5 }),
    windowMs: fc.integer({ min: 5, max: 60 }).map((length) => length * unit),
  })
// Mostly short pauses, sometimes longer than a window; 0 is a request in the same millisecond.
const pausesOf = (unit: number) =>
  fc.array(
    fc
      .oneof({ weight: 6, arbitrary: fc.integer({ min: 0, max: 8 }) }, fc.integer({ min: 0, max: 90 }))
      .map((length) => length * unit),
    { minLength: 1, maxLength: 60 },
  )

let unique = 0
const wishFor = (limit: Limit): Wish => ({ rule: `r${unique++}`, id: 'caller', limit })
const only = async (answer: Standing[] | Promise<Standing[]>): Promise<Standing> => {
  const [first] = await answer
  assert.ok(first)
  return first
}

/** Each bound as the contract words it, from the times alone. */
function assertBounds(times: number[], { limit, burst, windowMs }: Limit): void {
  for (const [i, from] of times.entries()) {
    for (let k = 1; k <= 5; k++) {
      const inside = times.slice(i).filter((at) => at < from + k * windowMs).length
      const bound = k === 1 ? limit + burst : (k + 1) * limit + burst
      assert.ok(inside <= bound, `${inside} in ${k} windows from ${from}, at most ${bound}`)
    }
  }
}

const runs = (twin: 'memory' | 'redis') => ({ seed: 20_261_124, numRuns: twin === 'memory' ? 1_500 : 150 })

for (const kind of ['memory', 'redis'] as const) {
  const skip = kind === 'redis' ? noRedis : false
  const make = kind === 'memory' ? memoryTwin : redisTwin
  const limits = limitsOf(windows[kind])
  const pauses = pausesOf(windows[kind])

  test(`${kind}: every answer is the model's, and the bounds of the contract hold`, { skip }, async (t) => {
    const { limiter, clock } = await make(t)
    await fc.assert(
      fc.asyncProperty(limits, pauses, async (limit, steps) => {
        const wish = wishFor(limit)
        const model = new Model(limit)
        for (const step of steps) {
          clock.now += step
          const expected = model.fits(clock.now)
          const standing = await only(limiter.take([wish]))
          assert.equal(standing.admitted, expected)
          if (expected) model.admitted.push(clock.now)
          assert.equal(standing.remaining, model.remaining(clock.now))
        }
        assertBounds(model.admitted, limit)
      }),
      runs(kind),
    )
  })

  test(`${kind}: whoever keeps to L in each window is never refused`, { skip }, async (t) => {
    const { limiter, clock } = await make(t)
    await fc.assert(
      fc.asyncProperty(limits, pauses, async (limit, steps) => {
        const wish = wishFor(limit)
        const sent: number[] = []
        for (const step of steps) {
          clock.now += step
          if (sent.filter((at) => at > clock.now - limit.windowMs).length >= limit.limit) continue
          sent.push(clock.now)
          assert.equal((await only(limiter.take([wish]))).admitted, true)
        }
      }),
      runs(kind),
    )
  })

  test(`${kind}: waiting as long as told succeeds, a millisecond less does not`, { skip }, async (t) => {
    const { limiter, clock } = await make(t)
    await fc.assert(
      fc.asyncProperty(limits, pauses, async (limit, steps) => {
        const wish = wishFor(limit)
        for (const step of steps) {
          clock.now += step
          const { remaining, resetMs, retryMs } = await only(limiter.take([wish]))
          assert.equal(retryMs > 0, remaining === 0)
          if (retryMs > 0) {
            clock.now += retryMs - 1
            assert.equal((await only(limiter.peek([wish]))).admitted, false)
            clock.now += 1
            assert.equal((await only(limiter.peek([wish]))).admitted, true)
            clock.now -= 1 // the next step starts before the wait is over
          } else if (resetMs > 0) {
            clock.now += resetMs - 1
            assert.equal((await only(limiter.peek([wish]))).remaining, remaining)
            clock.now += 1
            assert.ok((await only(limiter.peek([wish]))).remaining > remaining)
          }
        }
      }),
      runs(kind),
    )
  })

  test(`${kind}: of several rules one that refuses keeps all of them from being charged`, { skip }, async (t) => {
    const { limiter, clock } = await make(t)
    await fc.assert(
      fc.asyncProperty(fc.array(limits, { minLength: 2, maxLength: 4 }), pauses, async (several, steps) => {
        const wishes = several.map(wishFor)
        const models = several.map((limit) => new Model(limit))
        for (const step of steps) {
          clock.now += step
          const fits = models.map((model) => model.fits(clock.now))
          const standings = await limiter.take(wishes)
          assert.deepEqual(
            standings.map((s) => s.admitted),
            fits,
          )
          if (fits.every(Boolean)) for (const model of models) model.admitted.push(clock.now)
          assert.deepEqual(
            standings.map((s) => s.remaining),
            models.map((model) => model.remaining(clock.now)),
          )
        }
      }),
      runs(kind),
    )
  })

  test(`${kind}: a limit lowered and raised again holds while it is in force`, { skip }, async (t) => {
    const { limiter, clock } = await make(t)
    await fc.assert(
      fc.asyncProperty(limits, pauses, pauses, async (limit, before, after) => {
        const wish = wishFor(limit)
        const low = { ...limit, limit: Math.max(1, Math.floor(limit.limit / 2)), burst: 0 }
        for (const step of before) {
          clock.now += step
          await limiter.take([wish])
        }
        const times: number[] = []
        for (const step of after) {
          clock.now += step
          if ((await only(limiter.take([{ ...wish, limit: low }]))).admitted) times.push(clock.now)
        }
        assertBounds(times, low)
        clock.now += limit.windowMs * 40
        assert.equal((await only(limiter.peek([wish]))).remaining, limit.limit + limit.burst)
      }),
      runs(kind),
    )
  })

  test(`${kind}: a charge taken back leaves all as if it had not been`, { skip }, async (t) => {
    const { limiter, clock } = await make(t)
    await fc.assert(
      fc.asyncProperty(limits, pauses, fc.array(fc.boolean()), async (limit, steps, takenBack) => {
        const wish = wishFor(limit)
        const model = new Model(limit)
        for (const [i, step] of steps.entries()) {
          clock.now += step
          const { admitted } = await only(limiter.take([wish]))
          assert.equal(admitted, model.fits(clock.now))
          if (admitted && takenBack[i]) await limiter.refund([wish])
          else if (admitted) model.admitted.push(clock.now)
          assert.equal((await only(limiter.peek([wish]))).remaining, model.remaining(clock.now))
        }
      }),
      runs(kind),
    )
  })

  test(`${kind}: the day's new name finds the state under the old one, and back`, { skip }, async (t) => {
    const { limiter } = await make(t)
    const limit = { limit: 2, burst: 1, windowMs: 60_000 }
    const rule = `r${unique++}`
    const asOld = { rule, id: 'old', limit }
    const asNew = { rule, id: 'new', otherId: 'old', limit }
    await limiter.take([asOld])
    assert.equal((await only(limiter.take([asNew]))).remaining, 1)
    // An instance whose clock is behind still uses the old name.
    assert.equal((await only(limiter.take([{ ...asOld, otherId: 'new' }]))).remaining, 0)
    assert.equal((await only(limiter.take([asNew]))).admitted, false)
    await limiter.reset([asNew])
    assert.equal((await only(limiter.peek([asNew]))).remaining, 3)
  })
}

test(
  'redis: after its clock stepped back nobody waits longer than a window, and no window admits more',
  { skip: noRedis },
  async (t) => {
    const { limiter, clock } = await redisTwin(t)
    const limit = { limit: 3, burst: 1, windowMs: 1_000 }
    const wish = wishFor(limit)
    for (let i = 0; i < 4; i++) assert.equal((await only(limiter.take([wish]))).admitted, true)
    clock.now -= 500_000
    const refused = await only(limiter.take([wish]))
    assert.equal(refused.admitted, false)
    assert.ok(refused.retryMs <= limit.windowMs)
    clock.now += refused.retryMs
    assert.equal((await only(limiter.take([wish]))).admitted, true)
  },
)

test('redis: keys expire, and a value stays within its bound', { skip: noRedis }, async (t) => {
  const server = await testRedis(t)
  const client = new Redis(server.url)
  defer(t, () => client.disconnect())
  const limiter = new RedisLimiter(client)
  const wish = { rule: 'x', id: 'a', limit: { limit: 5, burst: 5, windowMs: 150 } }
  for (let i = 0; i < 40; i++) await limiter.take([wish])
  const [key = ''] = await client.keys('*')
  assert.ok((await client.strlen(key)) <= 8 + 6 * 10)
  await new Promise((resolve) => setTimeout(resolve, 400))
  assert.deepEqual(await client.keys('*'), [])
})

test('redis: a server that forgot the script is taught again', { skip: noRedis }, async (t) => {
  const server = await testRedis(t)
  const client = new Redis(server.url, { enableAutoPipelining: true })
  defer(t, () => client.disconnect())
  const limiter = new RedisLimiter(client)
  const wish = { rule: 'x', id: 'a', limit: { limit: 50, burst: 0, windowMs: 60_000 } }
  await limiter.take([wish])
  await client.script('FLUSH')
  const answers = await Promise.all(Array.from({ length: 20 }, () => limiter.take([wish])))
  assert.equal(answers.filter(([s]) => s?.admitted).length, 20)
  assert.equal((await only(limiter.peek([wish]))).remaining, 29)
})

test('memory: spent keys are swept, and more than the maximum are never kept', (t) => {
  const clock = { now: START }
  const limiter = new MemoryLimiter(() => clock.now, 1_000)
  defer(t, () => limiter.close())
  const limit = { limit: 5, burst: 0, windowMs: 1_000 }
  for (let i = 0; i < 5_000; i++) limiter.take([{ rule: 'x', id: `caller ${i}`, limit }])
  assert.equal(limiter.size, 1_000)
  clock.now += 2_000
  limiter.sweep()
  assert.equal(limiter.size, 0)
})
