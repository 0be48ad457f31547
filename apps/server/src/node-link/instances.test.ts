import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { redisKv } from '../platform/kv/index.ts'
import { defer, freshDatabase, noRedis, testRedis } from '../platform/testing/index.ts'
import { newIdentity } from './testing/fake-node.ts'
import {
  aNode,
  anInstance,
  aServer,
  aTunnel,
  aUser,
  endTunnel,
  silent,
  TestRegistry,
  until,
} from './testing/fleet-of-one.ts'

/** Two instances, a node linked to the first. */
async function pair(t: TestContext) {
  const { sql: db } = await freshDatabase(t)
  const redis = await testRedis(t)
  const registry = new TestRegistry()
  const instances = []
  for (let i = 0; i < 2; i++) {
    const kv = await redisKv(redis.url, silent)
    defer(t, () => kv.close())
    instances.push({ kv, ...(await anInstance(t, { db, kv, registry })) })
  }
  const [here, there] = instances
  assert.ok(here && there)
  const server = await aServer(db)
  const node = aNode(t, registry, newIdentity(server), here.url)
  await until('linked', () => here.links.linked(server) && node.welcomed)
  return { db, redis, registry, here, there, server, node, user: await aUser(db) }
}

test(
  'an instance that does not hold the link hears what is live and gone, with the last counters',
  { skip: noRedis },
  async (t) => {
    const { db, there, server, node, user } = await pair(t)
    const tunnel = await aTunnel(db, user, server, 5)
    assert.equal(await there.links.live(server, 5, tunnel.version, 3_000), 'live')
    node.kernel.carry(tunnel.key, 1_000n, 5_000n)
    const version = await endTunnel(db, tunnel)
    const gone = await there.links.gone(server, 5, version, 3_000)
    assert.ok(gone !== 'timeout')
    assert.deepEqual([gone.final?.rx, gone.final?.tx], ['1000', '5000'])
  },
)

test(
  'a question asked before the node has come is answered by whichever instance it comes to',
  { skip: noRedis },
  async (t) => {
    const { db, here, there, server, node, user } = await pair(t)
    node.url = `${there.url}/api/v1/node/link`
    node.kill()
    await until('lost', () => !here.links.linked(server))
    const tunnel = await aTunnel(db, user, server, 5)
    const answer = here.links.live(server, 5, tunnel.version, 5_000)
    node.restart()
    assert.equal(await answer, 'live')
    assert.equal(there.links.linked(server), true)
  },
)

test('a link to one instance ends an older one to the other', { skip: noRedis }, async (t) => {
  const { registry, here, there, server, node } = await pair(t)
  const twin = aNode(t, registry, node.identity, there.url)
  await until('the older was closed', () => node.closes.includes(4409))
  node.kill()
  await until('the newer stays', () => twin.welcomed && there.links.linked(server) && !here.links.linked(server))
})

test(
  'what is watched on one instance is reported each second by the other, and only that',
  { skip: noRedis },
  async (t) => {
    const { db, here, there, server, node, user } = await pair(t)
    const seen: number[] = []
    const stored: number[] = []
    there.links.onLive(({ peers }) => void seen.push(...peers.map(({ slot }) => slot)))
    there.links.onReport(({ peers }) => void stored.push(...peers.map(({ slot }) => slot)))
    const watched = await aTunnel(db, user, server, 5)
    const other = await aTunnel(db, user, server, 6, 1)
    await here.links.live(server, 5, watched.version, 3_000)
    await here.links.live(server, 6, other.version, 3_000)
    there.links.watch('test', new Map([[server, [5]]]), 60_000)
    await until('the node was told', () => node.heard.some((m) => m.type === 'watch' && m.slots.join() === '5'))
    const before = seen.length
    const moving = setInterval(() => {
      node.kernel.carry(watched.key, 1n, 1n)
      node.kernel.carry(other.key, 1n, 1n)
    }, 100)
    await until('reports came', () => seen.length >= before + 2)
    clearInterval(moving)
    assert.deepEqual([...new Set(seen)], [5])
    assert.deepEqual(stored, [], 'only the holder of the link stores')
  },
)

test('a key is rotated from either instance', { skip: noRedis }, async (t) => {
  const { registry, there, server } = await pair(t)
  assert.equal(await there.links.rotateKey(server), true)
  await until('the new key is stored', () => registry.keys.some((key) => key.startsWith('RRR')))
})

test('without Redis the instances reach each other through PostgreSQL', { skip: noRedis }, async (t) => {
  const { db, redis, there, here, server, user } = await pair(t)
  await redis.kill()
  await until('both noticed', () => !here.kv.healthy() && !there.kv.healthy())
  const tunnel = await aTunnel(db, user, server, 5)
  assert.equal(await there.links.live(server, 5, tunnel.version, 3_000), 'live')
  const version = await endTunnel(db, tunnel)
  assert.ok((await there.links.gone(server, 5, version, 3_000)) !== 'timeout')
})
