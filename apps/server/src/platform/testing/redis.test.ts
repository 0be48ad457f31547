import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Redis } from 'ioredis'
import { defer, noRedis, testRedis } from './index.ts'

test('a test can kill its Redis, sees it gone, and has it back empty', { skip: noRedis }, async (t) => {
  const redis = await testRedis(t)
  const client = new Redis(redis.url, { lazyConnect: true, retryStrategy: () => null })
  client.on('error', () => undefined)
  defer(t, () => client.disconnect())
  await client.connect()
  await client.set('key', 'value')
  await redis.kill()
  await assert.rejects(client.get('key'))
  await redis.restart()
  await client.connect()
  assert.equal(await client.get('key'), null)
})
