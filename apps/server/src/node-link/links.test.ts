import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { memoryKv } from '../platform/kv/index.ts'
import { defer, freshDatabase } from '../platform/testing/index.ts'
import { newIdentity, type FakeNode } from './testing/fake-node.ts'
import {
  aNode,
  anInstance,
  aServer,
  aTunnel,
  aUser,
  desiredOf,
  endTunnel,
  TestRegistry,
  until,
} from './testing/fleet-of-one.ts'

async function house(t: TestContext) {
  const { sql: db } = await freshDatabase(t)
  const kv = memoryKv()
  defer(t, () => kv.close())
  const registry = new TestRegistry()
  const instance = await anInstance(t, { db, kv, registry })
  const server = await aServer(db)
  const node = aNode(t, registry, newIdentity(server), instance.url)
  const user = await aUser(db)
  return { db, kv, registry, ...instance, server, node, user }
}

const slotState = async (db: Awaited<ReturnType<typeof house>>['db'], server: string, slot: number) =>
  (await db<{ state: string }[]>`select state from leases where server_id = ${server} and slot = ${slot}`)[0]?.state
const sent = (node: FakeNode, type: string) => node.heard.filter((message) => message.type === type)

test('a tunnel committed before and one after the link are live on the node, an ended one is gone and its address rests', async (t) => {
  const { db, links, server, node, user } = await house(t)
  const first = await aTunnel(db, user, server, 5)
  assert.equal(await links.live(server, 5, first.version, 5_000), 'live')
  const second = await aTunnel(db, user, server, 6, 1)
  assert.equal(await links.live(server, 6, second.version, 2_000), 'live')
  assert.deepEqual([...node.kernel.peers.keys()].toSorted(), [first.key, second.key].toSorted())

  node.kernel.carry(first.key, 1_000n, 5_000n)
  const version = await endTunnel(db, first)
  const gone = await links.gone(server, 5, version, 2_000)
  assert.ok(gone !== 'timeout')
  assert.deepEqual([gone.final?.rx, gone.final?.tx, gone.final?.version], ['1000', '5000', first.version])
  assert.deepEqual([...node.kernel.peers.keys()], [second.key])
  await until('the address rests', async () => (await slotState(db, server, 5)) === 'reserve')
})

test('an end that nobody tells of but the database reaches the node within a second', async (t) => {
  const { db, links, server, node, user } = await house(t)
  const tunnel = await aTunnel(db, user, server, 5)
  await links.live(server, 5, tunnel.version, 5_000)
  const began = performance.now()
  await db`delete from users where id = ${user}`
  await until('the peer is gone', () => node.kernel.peers.size === 0)
  assert.ok(performance.now() - began < 1_000)
})

test('a change whose notification was lost is found within two seconds', async (t) => {
  const { db, links, server, node, user } = await house(t)
  await until('linked', () => links.linked(server) && node.welcomed)
  const tunnel = await aTunnel(db, user, server, 5)
  await until('the peer is there', () => node.kernel.peers.has(tunnel.key), 2_500)
})

test('an answer about a tunnel of before is right after the server began anew and the node resumed', async (t) => {
  const { db, kv, registry, links, server, node, user } = await house(t)
  const kept = await aTunnel(db, user, server, 5)
  const ended = await aTunnel(db, user, server, 6, 1)
  await links.live(server, 5, kept.version, 5_000)
  const version = await endTunnel(db, ended)
  await links.gone(server, 6, version, 5_000)
  const next = await anInstance(t, { db, kv, registry })
  node.url = `${next.url}/api/v1/node/link`
  await links.stop()
  await until('linked there', () => next.links.linked(server))
  assert.equal(await next.links.live(server, 5, kept.version, 1_000), 'live')
  // The node repeats the last counters here where it had not yet heard that they were stored.
  const gone = await next.links.gone(server, 6, version, 1_000)
  assert.ok(gone !== 'timeout' && (gone.final === null || gone.final.slot === 6), JSON.stringify(gone))
  assert.equal(sent(node, 'snapshot').length, 1, 'it resumed without a second snapshot')
})

test('a node that cannot write says so and is not called live; one that is away times out', async (t) => {
  const { db, links, server, node, user } = await house(t)
  await until('linked', () => links.linked(server) && node.welcomed)
  node.kernel.broken = true
  const tunnel = await aTunnel(db, user, server, 5)
  assert.equal(await links.live(server, 5, tunnel.version, 3_000), 'failed')
  node.kill()
  await until('the link is lost', () => !links.linked(server))
  assert.equal(await links.live(server, 5, tunnel.version, 100), 'timeout')
})

test('a claim ended before the node heard of it is gone, not live', async (t) => {
  const { db, links, server, node, user } = await house(t)
  await until('linked', () => links.linked(server) && node.welcomed)
  const { claimed, version } = await db.begin(async (tx) => {
    const tunnel = await aTunnel(tx, user, server, 5)
    return { claimed: tunnel, version: await endTunnel(tx, tunnel) }
  })
  assert.notEqual(await links.live(server, 5, claimed.version, 300), 'live')
  // The node confirms it with the next horizon, at the latest when it is told again.
  await aTunnel(db, user, server, 6)
  assert.notEqual(await links.gone(server, 5, version, 3_000), 'timeout')
  await until('the address rests', async () => (await slotState(db, server, 5)) === 'reserve')
})

test('counters are told again until they are stored, and the node forgets them only then', async (t) => {
  const { db, links, server, node, user } = await house(t)
  let fail = true
  const stored: string[] = []
  links.onReport(async ({ peers, final }) => {
    if (fail) throw new Error('no database')
    for (const { rx } of peers) stored.push(`${final ? 'final' : 'report'} ${rx}`)
  })
  const tunnel = await aTunnel(db, user, server, 5)
  await links.live(server, 5, tunnel.version, 5_000)
  links.watch('test', new Map([[server, [5]]]), 60_000)
  node.kernel.carry(tunnel.key, 7n, 0n)
  await until('the link was closed', () => node.closes.includes(1011))
  assert.equal(stored.length, 0)
  fail = false
  await until('it is told again', () => stored.includes('report 7'))
})

test('an address does not rest before the last counters of its tunnel are stored', async (t) => {
  const { db, links, server, node, user } = await house(t)
  const gate = Promise.withResolvers<void>()
  links.onReport(({ final }) => (final ? gate.promise : undefined))
  const tunnel = await aTunnel(db, user, server, 5)
  await links.live(server, 5, tunnel.version, 5_000)
  node.kernel.carry(tunnel.key, 7n, 0n)
  const version = await endTunnel(db, tunnel)
  await until('the peer is gone', () => node.kernel.peers.size === 0)
  assert.equal(await links.gone(server, 5, version, 300), 'timeout')
  assert.equal(await slotState(db, server, 5), 'clearing')
  gate.resolve()
  assert.equal((await links.gone(server, 5, version, 2_000)) === 'timeout', false)
  assert.equal(await slotState(db, server, 5), 'reserve')
})

test('a second link of the same node replaces the first', async (t) => {
  const { registry, links, server, node, url } = await house(t)
  await until('linked', () => links.linked(server) && node.welcomed)
  const twin = aNode(t, registry, node.identity, url)
  await until('the first was closed', () => node.closes.includes(4409))
  node.kill()
  await until('the second is up', () => twin.welcomed && links.linked(server))
})

test('a node that is no longer wanted is told so and stops; its peers stay', async (t) => {
  const { db, kv, registry, links, server, node, user } = await house(t)
  const tunnel = await aTunnel(db, user, server, 5)
  await links.live(server, 5, tunnel.version, 5_000)
  registry.nodes.clear()
  await kv.publish('node-dismissed', node.identity.nodeId)
  await until('it stopped', () => node.exited !== undefined)
  assert.equal(node.kernel.peers.size, 1)
  await until('its goodbye was noted', () => registry.linkedTo.size === 0)
})

test('what a node is set to is told when it changes, its key when it is rotated', async (t) => {
  const { kv, registry, links, server, node } = await house(t)
  await until('linked', () => links.linked(server) && node.welcomed)
  registry.config = { ...registry.config, dns: ['10.77.0.1'] }
  await kv.publish('node-config', server)
  await until('the change was told', () => sent(node, 'config').length === 1)
  assert.equal(await links.rotateKey(server), true)
  await until('the new key is stored', () => registry.keys.some((key) => key.startsWith('RRR')))
  assert.equal(await links.rotateKey('00000000-0000-4000-8000-0000000000ff'), false)
})

test('what is watched is told to the node and ends by itself', async (t) => {
  const { links, server, node } = await house(t)
  await until('linked', () => links.linked(server) && node.welcomed)
  links.watch('a', new Map([[server, [5, 7]]]), 60_000)
  links.watch('b', new Map([[server, [6, 7]]]), 500)
  const lists = () => sent(node, 'watch').map((message) => ('slots' in message ? message.slots : []))
  await until('both are told', () => lists().some((slots) => slots.join() === '5,6,7'))
  await until('one has ended', () => lists().at(-1)?.join() === '5,7')
})

test('a node speaks for its own server only: reports and acknowledgements name no other', async (t) => {
  const { db, links, server, node, user } = await house(t)
  const other = await aServer(db)
  const theirs = await aTunnel(db, user, other, 5)
  const reports: string[] = []
  links.onReport(({ serverId }) => void reports.push(serverId))
  await until('linked', () => links.linked(server) && node.welcomed)
  node.say({
    type: 'applied',
    revision: '0',
    complete: false,
    slots: [{ slot: 5, version: theirs.version + 1, ok: true, held: false }],
  })
  node.say({
    type: 'report',
    seq: 1,
    at: Date.now(),
    peers: [{ slot: 5, version: 1, epoch: 1, rx: '1', tx: '1', handshake_at: 0 }],
  })
  await until('it was heard', () => reports.length > 0)
  assert.deepEqual(reports, [server])
  assert.equal(await slotState(db, other, 5), 'held')
})

test('stopping waits for what was told to be stored', async (t) => {
  const { db, kv, registry, server: _s, user } = await house(t)
  const server = await aServer(db)
  const { links, url } = await anInstance(t, { db, kv, registry, desired: desiredOf(db) })
  const node = aNode(t, registry, newIdentity(server), url)
  let done = false
  links.onReport(async ({ final }) => {
    if (!final) return
    await new Promise((resolve) => setTimeout(resolve, 200))
    done = true
  })
  const tunnel = await aTunnel(db, user, server, 5)
  await links.live(server, 5, tunnel.version, 5_000)
  node.kernel.carry(tunnel.key, 7n, 0n)
  await endTunnel(db, tunnel)
  await until('the peer is gone', () => node.kernel.peers.size === 0)
  await new Promise((resolve) => setTimeout(resolve, 50))
  await links.stop()
  assert.equal(done, true)
})
