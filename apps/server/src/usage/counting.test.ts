import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { one } from '../platform/db/index.ts'
import { memoryKv } from '../platform/kv/index.ts'
import { defer, freshDatabase } from '../platform/testing/index.ts'
import { newIdentity } from '../node-link/testing/fake-node.ts'
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
  type Tunnel,
} from '../node-link/testing/fleet-of-one.ts'
import { TestAuth } from './testing/theatre.ts'
import { createUsage } from './usage.ts'

/** An instance that counts, with a node linked to it and one tunnel on it. */
async function house(t: TestContext) {
  const { sql: db } = await freshDatabase(t)
  const kv = memoryKv()
  defer(t, () => kv.close())
  const registry = new TestRegistry()
  const counting = async () => {
    const instance = await anInstance(t, { db, kv, registry })
    const usage = createUsage({
      db,
      kv,
      log: silent,
      auth: new TestAuth(),
      links: instance.links,
      loadOf: () => null,
      queryJwt: true,
    })
    await usage.start()
    defer(t, () => usage.stop())
    return { ...instance, usage }
  }
  const { links, usage, url } = await counting()
  const server = await aServer(db)
  const node = aNode(t, registry, newIdentity(server), url)
  const tunnel = await aTunnel(db, await aUser(db), server, 5)
  assert.equal(await links.live(server, 5, tunnel.version, 5_000), 'live')
  usage.live.watch([{ connectionId: tunnel.id, serverId: server, slot: 5, version: tunnel.version }])
  const row = () =>
    one(db<{ sent: bigint; received: bigint; final: boolean }[]>`
      select bytes_sent as sent, bytes_received as received, totals_final as final from connections where id = ${tunnel.id}`)
  return { db, kv, links, usage, server, node, tunnel, row, counting }
}

async function ended(
  db: Parameters<typeof endTunnel>[0],
  tunnel: Tunnel,
  links: Awaited<ReturnType<typeof anInstance>>['links'],
) {
  const version = await endTunnel(db, tunnel)
  assert.notEqual(await links.gone(tunnel.serverId, tunnel.slot, version, 5_000), 'timeout')
}

test('what the kernel counted is what is stored when the tunnel has ended, to the byte', async (t) => {
  const { db, links, node, tunnel, row } = await house(t)
  for (let i = 0; i < 10; i++) node.kernel.carry(tunnel.key, 1_000n, 2_000n)
  await ended(db, tunnel, links)
  assert.deepEqual(await row(), { sent: 10_000n, received: 20_000n, final: true })
})

test('links that break and an agent that is killed lose nothing and count nothing twice', async (t) => {
  const { db, links, node, tunnel, row } = await house(t)
  node.kernel.carry(tunnel.key, 1_000n, 1n)
  node.breakLink()
  await until('it is back', () => !links.linked(tunnel.serverId))
  node.kernel.carry(tunnel.key, 1_000n, 1n)
  await until('linked', () => links.linked(tunnel.serverId) && node.welcomed)
  node.restart()
  node.kernel.carry(tunnel.key, 1_000n, 1n)
  await until('counted', async () => (await row()).sent === 3_000n, 10_000)
  await ended(db, tunnel, links)
  assert.deepEqual(await row(), { sent: 3_000n, received: 3n, final: true })
})

test('an interface that is made anew counts on top', async (t) => {
  const { db, links, node, tunnel, row } = await house(t)
  node.kernel.carry(tunnel.key, 1_000n, 1n)
  await until('counted', async () => (await row()).sent === 1_000n, 10_000)
  node.kernel.recreate()
  await until('the peer is back', () => node.kernel.peers.has(tunnel.key), 10_000)
  node.kernel.carry(tunnel.key, 500n, 1n)
  await until('counted', async () => (await row()).sent === 1_500n, 10_000)
  await ended(db, tunnel, links)
  assert.deepEqual(await row(), { sent: 1_500n, received: 2n, final: true })
})

test('an acknowledgement lost with its link brings the last counters on the next one', async (t) => {
  const { db, links, node, tunnel, row } = await house(t)
  node.kernel.carry(tunnel.key, 1_000n, 1n)
  let lost = false
  node.mute = (message) => {
    if (message.type !== 'applied' || !message.slots.some(({ final }) => final)) return lost
    node.breakLink()
    return (lost = true)
  }
  const version = await endTunnel(db, tunnel)
  await until('lost', () => lost)
  lost = false
  node.mute = () => false
  assert.notEqual(await links.gone(tunnel.serverId, 5, version, 10_000), 'timeout')
  await until('counted', async () => (await row()).sent === 1_000n, 10_000)
})

test('an instance that dies between reports loses nothing: the next one is told the whole', async (t) => {
  const { db, links, node, tunnel, row, counting } = await house(t)
  node.kernel.carry(tunnel.key, 1_000n, 1n)
  const next = await counting()
  node.url = `${next.url}/api/v1/node/link`
  node.breakLink()
  await until('linked there', () => next.links.linked(tunnel.serverId), 10_000)
  await until('counted', async () => (await row()).sent === 1_000n, 10_000)
  await ended(db, tunnel, next.links)
  assert.equal((await row()).final, true)
  assert.equal(links.linked(tunnel.serverId), false)
})
