import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { after, test } from 'node:test'
import { openPool } from '../platform/db/index.ts'
import { freshDatabase } from '../platform/testing/index.ts'
import type { Fleet } from './fleet.ts'
import { aUser, connect, enrolledServer, house, liveServer, publicKey } from './testing/fixtures.ts'

const { sql, url } = await freshDatabase({ after })
const h = await house({ after }, sql)
const { call } = h
const fleet: Fleet = h.fleet

const statusOf = async (id: string): Promise<string> => (await call('GET', `/admin/servers/${id}`)).body.status
const silentFor = (nodeId: string, seconds: number) =>
  sql`update nodes set last_seen_at = clock_timestamp() - make_interval(secs => ${seconds}) where id = ${nodeId}`
const takes = (serverId: string): boolean => {
  try {
    return fleet.candidates({ serverId, tier: 'premium' }).ids.length > 0
  } catch {
    return false
  }
}

test('a link makes its server operational; without it no new tunnels, after 60 s offline, with it back', async () => {
  const node = await enrolledServer(h)
  assert.equal(takes(node.serverId), false)
  const link = { linkId: node.linkId, agentVersion: '0.2.0', backend: 'kernel' as const }
  assert.equal(await fleet.markLinked(node.nodeId, link), true)
  assert.equal(await statusOf(node.serverId), 'operational')
  assert.equal(takes(node.serverId), true)

  await fleet.markUnlinked(node.nodeId, node.linkId)
  assert.equal(takes(node.serverId), false)
  await silentFor(node.nodeId, 59)
  await fleet.settle()
  assert.equal(await statusOf(node.serverId), 'operational')
  await silentFor(node.nodeId, 61)
  const heard = new EventEmitter()
  await h.kv.subscribe('fleet-status', (text) => heard.emit('status', JSON.parse(text)))
  const change = once(heard, 'status')
  await fleet.settle()
  assert.deepEqual(await change, [{ server_id: node.serverId, status: 'offline' }])
  assert.equal(await statusOf(node.serverId), 'offline')

  const back = once(heard, 'status')
  await fleet.markLinked(node.nodeId, { ...link, linkId: randomUUID() })
  assert.deepEqual(await back, [{ server_id: node.serverId, status: 'active' }])
  const { body } = await call('GET', `/admin/servers/${node.serverId}`)
  assert.deepEqual(
    [body.status, body.node.agent_version, body.node.backend, body.node.linked],
    ['operational', '0.2.0', 'kernel', true],
  )
})

test('a link whose instance died is not believed for long', async () => {
  const node = await liveServer(h)
  await silentFor(node.nodeId, 24)
  await fleet.refresh()
  assert.equal(takes(node.serverId), true)
  await silentFor(node.nodeId, 26)
  await fleet.refresh()
  assert.equal(takes(node.serverId), false)
})

test('staff and customers read the same ping', async () => {
  const node = await liveServer(h)
  const health = { nodeId: node.nodeId, linkId: node.linkId, load1: 1, cores: 1, pingMs: 12.3456789, warnings: [] }
  await fleet.recordHealth([health])
  await fleet.refresh()
  assert.equal((await call('GET', `/admin/servers/${node.serverId}`)).body.ping, 12.3)
  assert.equal((await call('GET', `/servers/${node.serverId}`)).body.ping, 12.3)
})

test('the late goodbye and the late heartbeat of an older link change nothing', async () => {
  const node = await liveServer(h)
  const newer = randomUUID()
  await fleet.markLinked(node.nodeId, { linkId: newer, agentVersion: '0.1.0', backend: 'userspace' })
  await fleet.markUnlinked(node.nodeId, node.linkId)
  assert.equal(takes(node.serverId), true)
  await fleet.recordHealth([{ nodeId: node.nodeId, linkId: node.linkId, load1: 9, cores: 1, warnings: ['old'] }])
  assert.deepEqual((await call('GET', `/admin/servers/${node.serverId}`)).body.node.warnings, [])
  await fleet.markUnlinked(node.nodeId, newer)
  assert.equal(takes(node.serverId), false)
})

test('heartbeats of many nodes are written together; what one does not say stays', async () => {
  const [a, b] = [await liveServer(h), await liveServer(h)]
  const health = { load1: 0.5, cores: 4, conntrack: 0.25, pingMs: 8, warnings: ['old_kernel', 'a "quoted" one'] }
  await fleet.recordHealth([
    { ...a, ...health },
    { nodeId: b.nodeId, linkId: b.linkId },
  ])
  await fleet.recordHealth([{ nodeId: a.nodeId, linkId: a.linkId }])
  await fleet.recordHealth([])
  const { body } = await call('GET', `/admin/servers/${a.serverId}`)
  const { load1, cores, conntrack, warnings } = body.node
  assert.deepEqual([load1, cores, conntrack, warnings, body.ping], [0.5, 4, 0.25, health.warnings, 8])
  assert.equal((await call('GET', `/admin/servers/${b.serverId}`)).body.node.load1, null)
})

test('the exits a node reports are kept until it reports others, and come with its own address for ten minutes', async (t) => {
  const node = await liveServer(h, { ip_address: '198.51.100.1' })
  const other = await liveServer(h, { ip_address: '198.51.100.2' })
  const never = await enrolledServer(h, { ip_address: '198.51.100.3' })
  const beat = (exits?: string[]) =>
    fleet.recordHealth([{ nodeId: node.nodeId, linkId: node.linkId, ...(exits ? { exits } : {}) }])
  // One that has just started: addresses are not looked at with every look.
  const seen = async () => {
    const { fleet: fresh } = await house(t, sql)
    await fresh.refresh()
    return fresh.exitAddresses().filter((a) => a.startsWith('198.51.100.') || a.startsWith('2001:db8:'))
  }
  const [own, others] = ['198.51.100.1', '198.51.100.2']
  await beat(['198.51.100.77', '2001:db8::77'])
  await beat()
  assert.deepEqual((await seen()).toSorted(), [own, others, '198.51.100.77', '2001:db8::77'].toSorted())
  await fleet.markUnlinked(node.nodeId, node.linkId)
  await silentFor(node.nodeId, 599)
  assert.equal((await seen()).length, 4, 'a lost link does not end it')
  await silentFor(node.nodeId, 601)
  assert.deepEqual(await seen(), [others])

  await fleet.markLinked(node.nodeId, { linkId: node.linkId, agentVersion: '0.1.0', backend: 'userspace' })
  await beat([])
  assert.deepEqual((await seen()).toSorted(), [own, others])
  await fleet.recordHealth([{ nodeId: other.nodeId, linkId: randomUUID(), exits: ['198.51.100.88'] }])
  await fleet.recordHealth([{ nodeId: never.nodeId, linkId: never.linkId, exits: ['198.51.100.99'] }])
  assert.deepEqual((await seen()).toSorted(), [own, others], 'only the open link may say so')
})

test('a round writes load and ping where they changed, and only there', async () => {
  const node = await liveServer(h, { max_connections: 4 })
  await connect(sql, await aUser(sql), [node.serverId])
  await fleet.recordHealth([{ nodeId: node.nodeId, linkId: node.linkId, pingMs: 31 }])
  const row = () => sql`select current_load, ping, xmin::text from vpn_servers where id = ${node.serverId}`
  await fleet.settle()
  const [first] = await row()
  assert.deepEqual([first?.current_load, first?.ping], [25, 31])
  await Promise.all([fleet.settle(), fleet.settle(), fleet.settle()])
  assert.deepEqual((await row())[0], first)
})

test('a rotated key is stored once; one in use or none at all is refused', async () => {
  const [a, b] = [await liveServer(h), await liveServer(h)]
  const key = publicKey()
  assert.equal(await fleet.storeNewKey(a.nodeId, key), true)
  assert.equal(fleet.byId(a.serverId)?.view.public_key, key)
  await assert.rejects(fleet.storeNewKey(b.nodeId, key), { code: 'CONFLICT' })
  await assert.rejects(fleet.storeNewKey(b.nodeId, Buffer.alloc(32).toString('base64')), { code: 'INVALID_INPUT' })
  assert.equal(await fleet.storeNewKey(randomUUID(), publicKey()), false)
})

test('a link is greeted with what its node needs, an unknown node with nothing', async () => {
  const node = await liveServer(h)
  const found = await fleet.nodeForLink(node.nodeId)
  assert.ok(found)
  assert.deepEqual(
    [found.serverId, found.address.slice(0, 8), found.identityKey.length, found.config.mtu],
    [node.serverId, '192.0.2.', 32, 1420],
  )
  assert.equal(await fleet.nodeForLink(randomUUID()), undefined)
})

test('other instances hear of a change at once', async (t) => {
  const other = await house(t, sql)
  const told = new EventEmitter()
  await h.kv.subscribe('fleet-changed', (id) => told.emit('changed', id))
  const heard = once(told, 'changed')
  const { serverId } = await liveServer(h)
  await heard
  await other.fleet.start()
  assert.ok(other.fleet.byId(serverId))
  await h.call('PATCH', `/admin/servers/${serverId}`, { city: 'Bremen' })
  const read = new Promise<void>((resolve) => {
    const look = () => (other.fleet.byId(serverId)?.view.city === 'Bremen' ? resolve() : void setTimeout(look, 5))
    look()
  })
  await other.kv.publish('fleet-changed', serverId)
  await read
  await other.fleet.stop()
})

test('while the database is away the last state known stays in use', async (t) => {
  const pool = openPool(url, { max: 1 })
  const lonely = await house(t, pool)
  const { serverId } = await liveServer(h)
  await lonely.fleet.refresh()
  await pool.end()
  await assert.rejects(lonely.fleet.refresh())
  assert.ok(lonely.fleet.byId(serverId))
  assert.ok(lonely.fleet.exitAddresses().length > 0)
  assert.deepEqual(lonely.fleet.candidates({ serverId, tier: 'free' }).ids, [serverId])
  await lonely.fleet.start()
  await lonely.fleet.stop()
})
