import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, test, type TestContext } from 'node:test'
import { createLog } from '../log.ts'
import { noRedis, testRedis } from '../testing/index.ts'
import { KvUnavailable, memoryKv, redisKv, type Kv } from './index.ts'

const twins: [name: string, open: (t: TestContext) => Promise<Kv>, skip: string | false][] = [
  ['in-process', async () => memoryKv(), false],
  ['redis', async (t) => redisKv((await testRedis(t)).url, createLog('silent')), noRedis],
]

for (const [name, open, skip] of twins) {
  describe(`the ${name} store`, { skip }, () => {
    const opened = async (t: TestContext): Promise<Kv> => {
      const kv = await open(t)
      t.after(() => kv.close())
      return kv
    }

    test('gives back what was set, and nothing after delete', async (t) => {
      const kv = await opened(t)
      assert.equal(await kv.get('k'), null)
      await kv.set('k', 'wörd', 10_000)
      assert.equal(await kv.get('k'), 'wörd')
      await kv.set('k', 'other', 10_000)
      assert.equal(await kv.get('k'), 'other')
      await kv.delete('k')
      assert.equal(await kv.get('k'), null)
    })

    test('forgets a value when its time is over', async (t) => {
      const kv = await opened(t)
      await kv.set('k', 'v', 40)
      assert.equal(await kv.get('k'), 'v')
      await sleep(80)
      assert.equal(await kv.get('k'), null)
      assert.equal(await kv.take('k'), null)
      assert.equal(await kv.setOnce('k', 'again', 1_000), true)
    })

    test('of fifty who set once, one wrote', async (t) => {
      const kv = await opened(t)
      const wrote = await Promise.all(Array.from({ length: 50 }, (_, i) => kv.setOnce('k', String(i), 10_000)))
      assert.equal(wrote.filter(Boolean).length, 1)
      assert.equal(await kv.get('k'), String(wrote.indexOf(true)))
    })

    test('of fifty who take, one gets it', async (t) => {
      const kv = await opened(t)
      await kv.set('k', 'v', 10_000)
      const taken = await Promise.all(Array.from({ length: 50 }, () => kv.take('k')))
      assert.deepEqual(
        taken.filter((v) => v !== null),
        ['v'],
      )
    })

    test('tells every subscriber of a channel and no other, until it ends its subscription', async (t) => {
      const kv = await opened(t)
      const heard: string[] = []
      const end = await kv.subscribe('a', (m) => heard.push(`1:${m}`))
      await kv.subscribe('a', (m) => heard.push(`2:${m}`))
      await kv.subscribe('b', (m) => heard.push(`b:${m}`))
      await kv.publish('a', 'x')
      await sleep(50)
      assert.deepEqual(heard.toSorted(), ['1:x', '2:x'])
      end()
      await kv.publish('a', 'y')
      await sleep(50)
      assert.deepEqual(heard.toSorted(), ['1:x', '2:x', '2:y'])
    })
  })
}

test('a lost Redis fails fast, says so, and comes back by itself', { skip: noRedis }, async (t) => {
  const redis = await testRedis(t)
  const kv = await redisKv(redis.url, createLog('silent'))
  t.after(() => kv.close())
  const heard: string[] = []
  await kv.subscribe('a', (m) => heard.push(m))
  await redis.kill()
  const began = performance.now()
  await assert.rejects(kv.get('k'), KvUnavailable)
  assert.ok(performance.now() - began < 1_000)
  while (kv.healthy()) await sleep(10)
  await redis.restart()
  while (!kv.healthy()) await sleep(10)
  await kv.set('k', 'v', 10_000)
  assert.equal(await kv.get('k'), 'v')
  for (let i = 0; i < 100 && heard.length === 0; i++) {
    await kv.publish('a', 'back')
    await sleep(20)
  }
  assert.equal(heard[0], 'back')
})
