import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { test, type TestContext } from 'node:test'
import WebSocket from 'ws'
import { memoryKv } from '../platform/kv/index.ts'
import { defer, freshDatabase } from '../platform/testing/index.ts'
import { Gate, type Bounds } from './gate.ts'
import { soundHealth } from './heartbeats.ts'
import { Inflow } from './inflow.ts'
import { proves } from './proof.ts'
import { newIdentity, proofOf } from './testing/fake-node.ts'
import { anInstance, aServer, INSTALLATION, TestRegistry, until } from './testing/fleet-of-one.ts'

async function door(t: TestContext) {
  const { sql: db } = await freshDatabase(t)
  const kv = memoryKv()
  defer(t, () => kv.close())
  const registry = new TestRegistry()
  const failed: string[] = []
  const attempts = { failed: (_req: unknown, kind: string) => void failed.push(kind) }
  const { links, url } = await anInstance(t, { db, kv, registry, attempts })
  const server = await aServer(db)
  const identity = newIdentity(server)
  registry.nodes.set(identity.nodeId, identity)
  return { db, registry, failed, links, url: `${url}/api/v1/node/link`, server, identity }
}

type Said = { type: string; nonce?: string; reason?: string }

async function dial(t: TestContext, url: string) {
  const ws = new WebSocket(url)
  defer(t, () => ws.terminate())
  ws.on('error', () => undefined)
  const heard: Said[] = []
  ws.on('message', (data: Buffer) => void heard.push(JSON.parse(data.toString()) as Said))
  const closed = once(ws, 'close').then(([code]) => code as number)
  await once(ws, 'open')
  await until('the challenge', () => heard.length > 0)
  return { ws, heard, closed, nonce: heard[0]?.nonce ?? '' }
}

const auth = (nodeId: string, signature: string) =>
  JSON.stringify({
    type: 'auth',
    version: 1,
    node_id: nodeId,
    signature,
    resume: null,
    agent: { version: '1', backend: 'kernel', public_key: `${'N'.repeat(43)}=` },
  })

test('a right proof is welcomed; the same proof on another socket is not', async (t) => {
  const { url, identity, links, server } = await door(t)
  const first = await dial(t, url)
  const proof = proofOf(identity, INSTALLATION, first.nonce)
  first.ws.send(auth(identity.nodeId, proof))
  await until('welcome', () => first.heard.some(({ type }) => type === 'welcome'))
  await until('linked', () => links.linked(server))
  const second = await dial(t, url)
  assert.notEqual(second.nonce, first.nonce)
  second.ws.send(auth(identity.nodeId, proof))
  assert.equal(await second.closed, 4401)
  assert.equal(
    second.heard.some(({ type }) => type === 'dismissed'),
    false,
  )
  assert.equal(links.linked(server), true, 'a stranger does not push the node out')
})

test("another node's key, another installation and a cut signature prove nothing", async (t) => {
  const { url, identity, failed } = await door(t)
  const other = newIdentity(identity.serverId)
  const tries: ((nonce: string) => string)[] = [
    (nonce) => proofOf({ ...other, nodeId: identity.nodeId }, INSTALLATION, nonce),
    (nonce) => proofOf(identity, '00000000-0000-4000-8000-000000000002', nonce),
    (nonce) => proofOf(identity, INSTALLATION, nonce).slice(0, -1),
    () => '',
  ]
  for (const attempt of tries) {
    const { ws, nonce, closed } = await dial(t, url)
    ws.send(auth(identity.nodeId, attempt(nonce)))
    assert.equal(await closed, 4401)
  }
  assert.deepEqual(failed, ['signature', 'signature', 'signature', 'signature'], 'each is a failed attempt')
})

test('a node nobody knows is told to stop for good', async (t) => {
  const { url, identity, registry, failed } = await door(t)
  registry.nodes.clear()
  const { ws, nonce, heard, closed } = await dial(t, url)
  ws.send(auth(identity.nodeId, proofOf(identity, INSTALLATION, nonce)))
  assert.equal(await closed, 4401)
  assert.equal(heard.at(-1)?.type, 'dismissed')
  assert.deepEqual(failed, ['signature'])
})

test('while the database cannot say who a node is, it is asked to come back, not dismissed', async (t) => {
  const { url, identity, registry, failed } = await door(t)
  registry.nodeForLink = async () => {
    throw new Error('no database')
  }
  const { ws, nonce, heard, closed } = await dial(t, url)
  ws.send(auth(identity.nodeId, proofOf(identity, INSTALLATION, nonce)))
  assert.equal(await closed, 4401)
  assert.equal(
    heard.some(({ type }) => type === 'dismissed'),
    false,
  )
  assert.deepEqual(failed, [], 'our own fault is no attempt of theirs')
})

test('before the proof nothing else is heard: reports, nonsense, binary and much data end the socket', async (t) => {
  const { url } = await door(t)
  const report = JSON.stringify({ type: 'report', seq: 1, at: 1, peers: [] })
  for (const message of [report, '{', '{"type":"new"}', Buffer.from([1])]) {
    const { ws, closed } = await dial(t, url)
    ws.send(message)
    assert.equal(await closed, 4400)
  }
  const { ws, closed } = await dial(t, url)
  ws.send('x'.repeat(1_000_000), { fin: false })
  assert.equal(await closed, 1006)
})

test('a node comes in though others hold all places of its address', async (t) => {
  const { url, identity, links, server } = await door(t)
  const idle = await Promise.all(Array.from({ length: 16 }, () => dial(t, url)))
  const turnedAway = new WebSocket(url)
  turnedAway.on('error', () => undefined)
  const [, answer] = (await once(turnedAway, 'unexpected-response')) as [unknown, IncomingMessage]
  assert.equal(answer.statusCode, 503)
  answer.destroy()
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  const { ws, nonce } = await dial(t, url)
  assert.equal(await Promise.race(idle.map(({ closed }) => closed)), 1006)
  ws.send(auth(identity.nodeId, proofOf(identity, INSTALLATION, nonce)))
  await until('linked', () => links.linked(server))
})

test('who says nothing is put out after five seconds', async (t) => {
  const { url } = await door(t)
  const began = performance.now()
  const { closed } = await dial(t, url)
  assert.equal(await closed, 4408)
  const took = performance.now() - began
  assert.ok(took > 4_000 && took < 7_000, `${took} ms`)
})

/** A gate with a clock that stands still, and who was put out of it. */
function aGate(bounds: Partial<Bounds>) {
  const clock = { now: 0 }
  const wide = { inAll: 99, strangers: 99, perAddress: 99, perNetwork: 99 }
  const gate = new Gate({ ...wide, ...bounds }, () => clock.now)
  const out: string[] = []
  const enter = (address: string, network: string | null = null, ours = false) =>
    gate.enter({ address, network, ours }, () => void out.push(address))
  return { clock, enter, out }
}
const full = { code: 'UNAVAILABLE' }

test('strangers are few, in all and from one address, and make room when they go', () => {
  const { enter } = aGate({ inAll: 3, perAddress: 2 })
  const leave = enter('a')
  enter('a')
  assert.throws(() => enter('a'), full)
  enter('b')
  assert.throws(() => enter('c'), full)
  leave()
  leave()
  enter('c')
  assert.throws(() => enter('d'), full)
})

test('strangers of one /48 are bounded together, and in all leave room for our own nodes, also for one in that /48', () => {
  const { enter } = aGate({ inAll: 6, strangers: 5, perNetwork: 3 })
  for (const address of ['a1', 'a2', 'a3']) enter(address, 'a')
  assert.throws(() => enter('a4', 'a'), full)
  enter('b1', 'b')
  enter('192.0.2.1')
  assert.throws(() => enter('192.0.2.2'), full)
  enter('a5', 'a', true)
  assert.throws(() => enter('c1', 'c', true), full)
})

test('who holds a place without a proof for longer than a proof takes gives it to the next', () => {
  const { clock, enter, out } = aGate({ inAll: 4, strangers: 3, perAddress: 2 })
  enter('a')
  clock.now = 500
  enter('a')
  enter('b')
  assert.throws(() => enter('c'), full)
  clock.now = 999
  assert.throws(() => enter('a'), full)
  clock.now = 1_000
  enter('c')
  assert.deepEqual(out, ['a'])
  assert.throws(() => enter('d'), full, 'the others are young yet')
  clock.now = 1_500
  enter('b')
  enter('d')
  assert.deepEqual(out, ['a', 'a', 'b'])
})

test('a proof is bound to the node, not only to the key', () => {
  const node = newIdentity('s')
  const challenge = { installation: INSTALLATION, nonce: 'n'.repeat(32) }
  const signature = proofOf(node, challenge.installation, challenge.nonce)
  assert.equal(proves(node, challenge, signature), true)
  assert.equal(proves({ ...node, nodeId: newIdentity('s').nodeId }, challenge, signature), false)
  assert.equal(proves({ ...node, identityKey: Buffer.alloc(31) }, challenge, signature), false)
  assert.equal(proves({ ...node, identityKey: Buffer.alloc(32) }, challenge, signature), false)
})

test('a node that sends more than it has reason to is read more slowly', () => {
  const inflow = new Inflow(1_000, 5_000, 0)
  assert.equal(inflow.take(5_000, 0), 0)
  assert.equal(inflow.take(2_000, 1_000), 1_000)
  assert.equal(inflow.take(0, 3_000), 0)
})

test('what a node says of its health is bounded and made printable', () => {
  const sound = soundHealth({
    load1: 1e300,
    cores: 2 ** 40,
    peers: 1,
    conntrack: 0.5,
    warnings: ['old_kernel', 'old_kernel', '\u001b[31mred\n', 'x'.repeat(90) + '\u202e'.repeat(9)],
  })
  assert.deepEqual(sound.warnings?.slice(0, 2), ['old_kernel', '\\u001b[31mred\\u000a'])
  assert.ok(sound.warnings?.every((warning) => warning.length <= 100 && /^[^\p{Cc}\u202e]*$/u.test(warning)))
  assert.deepEqual([sound.load1, sound.cores, sound.conntrack], [1_000_000, 4_096, 0.5])
})
