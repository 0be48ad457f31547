import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { redisKv } from '../platform/kv/index.ts'
import { createLog } from '../platform/log.ts'
import { throwawaySecrets } from '../platform/secrets.ts'
import { defer, noRedis, testRedis, type TestRedis } from '../platform/testing/index.ts'
import { protectedApp, type Kit } from './testing/kit.ts'

const ENV = { RATE_LIMIT_API: '20/60s+0', DDOS_THRESHOLD: '100000' }

/** Two instances of one installation: the same secrets and the same Redis. */
async function twoInstances(t: TestContext, redis: TestRedis, env: Record<string, string> = ENV): Promise<[Kit, Kit]> {
  const secrets = throwawaySecrets()
  const make = async () => {
    const kv = await redisKv(redis.url, createLog('silent'))
    defer(t, () => kv.close())
    return protectedApp(t, { env, kv, redis: kv.client, secrets, realTime: true })
  }
  return [await make(), await make()]
}

const ask = (kit: Kit, remoteAddress: string) => kit.send({ method: 'GET', url: '/plans', remoteAddress })

async function until(what: string, holds: () => boolean): Promise<void> {
  const end = performance.now() + 5_000
  while (!holds()) {
    assert.ok(performance.now() < end, what)
    await sleep(20)
  }
}

test('instances share their limits through Redis', { skip: noRedis }, async (t) => {
  const [one, other] = await twoInstances(t, await testRedis(t))
  const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => ask(i % 2 ? one : other, '192.0.2.1')))
  assert.equal(answers.filter(({ status }) => status === 200).length, 20)
})

test(
  'Redis killed under load: no answer is a fault, limits hold by instance, and are shared again when it is back',
  { skip: noRedis },
  async (t) => {
    const redis = await testRedis(t)
    const [one, other] = await twoInstances(t, redis)
    const statuses: number[] = []
    const stopping = new AbortController()
    const load = async (kit: Kit) => {
      for (let i = 0; !stopping.signal.aborted; i++) {
        statuses.push((await ask(kit, `198.51.100.${i % 200}`)).status)
        await sleep(1)
      }
    }
    const loads = [load(one), load(other), load(one), load(other)]
    await sleep(150)
    await redis.kill()
    await sleep(250)
    stopping.abort()
    await Promise.all(loads)
    assert.ok(statuses.length > 50)
    assert.deepEqual(
      [...new Set(statuses)].filter((status) => status !== 200 && status !== 429),
      [],
    )

    await until('the loss is not noticed', () => !one.protection.shared())
    // Fresh address: each instance admits its own 20, none more.
    for (const kit of [one, other]) {
      let admitted = 0
      for (let i = 0; i < 40; i++) if ((await ask(kit, '203.0.113.7')).status === 200) admitted++
      assert.equal(admitted, 20)
    }

    await redis.restart()
    await until('the return is not noticed', () => one.protection.shared())
    let admitted = 0
    await until('the other does not return', () => other.protection.shared() || (void ask(other, '203.0.113.9'), false))
    for (let i = 0; i < 60; i++) if ((await ask(i % 2 ? one : other, '203.0.113.8')).status === 200) admitted++
    assert.equal(admitted, 20)
  },
)

test('a frozen Redis costs one time-out, not one for each request', { skip: noRedis }, async (t) => {
  const redis = await testRedis(t)
  const [one] = await twoInstances(t, redis)
  await ask(one, '192.0.2.1')
  redis.freeze()
  const first = performance.now()
  assert.equal((await ask(one, '192.0.2.2')).status, 200)
  const took = performance.now() - first
  assert.ok(took < 1_000, `the first took ${Math.round(took)} ms`)
  const began = performance.now()
  for (let i = 0; i < 50; i++) assert.equal((await ask(one, `192.0.2.${10 + i}`)).status, 200)
  assert.ok(performance.now() - began < 1_000)
  redis.thaw()
  await until('it does not return', () => one.protection.shared())
})

test('anonymous requests of all instances add up for the global rule', { skip: noRedis }, async (t) => {
  const redis = await testRedis(t)
  const env = { GLOBAL_RATE_LIMIT: '50' }
  const [one, other] = await twoInstances(t, redis, env)
  // Start only what exchanges; there is no database here.
  for (const kit of [one, other]) defer(t, await kit.protection.news.start())
  for (let i = 0; i < 60; i++) await ask(one, `192.0.2.${i}`)
  one.protection.news.tell({ kind: 'counted', n: one.protection.state.global.takeUntold() })
  await until('the count does not arrive', () => other.protection.state.global.sum === 60)
  for (let i = 0; i < 10; i++) assert.equal((await ask(other, '203.0.113.1')).status, 200)
  assert.equal((await ask(other, '203.0.113.1')).status, 429)
  assert.equal((await ask(other, '203.0.113.2')).status, 200)
})
