import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { memoryKv } from '../platform/kv/index.ts'
import { defer, freshDatabase } from '../platform/testing/index.ts'
import {
  aServer,
  aTunnel,
  aUser,
  endTunnel,
  listen,
  silent,
  until,
  type Tunnel,
} from '../node-link/testing/fleet-of-one.ts'
import { openSocket, TestAuth, TestLinks, type Message } from './testing/theatre.ts'
import { issueTicket } from './tickets.ts'
import { createUsage } from './usage.ts'

async function house(t: TestContext, queryJwt = true) {
  const { sql: db } = await freshDatabase(t)
  const kv = memoryKv()
  defer(t, () => kv.close())
  const auth = new TestAuth()
  const links = new TestLinks()
  const usage = createUsage({ db, kv, log: silent, auth, links, loadOf: () => 40, queryJwt })
  const url = await listen(t, [usage.socketRoute])
  await usage.start()
  defer(t, () => usage.stop())
  const user = await aUser(db)
  const server = await aServer(db)
  const at = (token: string, id = user) => `${url}/api/v1/ws/connection/${id}?token=${token}`
  return { db, kv, auth, links, usage, url, user, server, at }
}

const event = (tunnel: Tunnel, status: string, reason: string | null = null) =>
  JSON.stringify({
    user_id: tunnel.userId,
    connection_id: tunnel.id,
    status,
    reason,
    server_id: tunnel.serverId,
    slot: tunnel.slot,
    version: tunnel.version,
  })
const isMetrics = (message: Message) => message.type === 'metrics'
const refused = (status: number) => ({ message: `refused ${status}` })

test('every way to bring the token opens the socket; what we select of the subprotocols is ours', async (t) => {
  const { kv, auth, url, user, at } = await house(t)
  const path = `${url}/api/v1/ws/connection/${user}`
  const token = `${user}.s1`
  await openSocket(t, path, { headers: { authorization: `Bearer ${token}` } })
  assert.equal((await openSocket(t, path, { protocols: ['prime.v1', `bearer.${token}`] })).ws.protocol, 'prime.v1')
  assert.equal((await openSocket(t, path, { protocols: [`bearer.${token}`] })).ws.protocol, `bearer.${token}`)
  await openSocket(t, at(token))
  await openSocket(t, at(await issueTicket(kv, auth.principal(user, 's1'))))
  await openSocket(t, at(token).replace('/api/v1', ''))
  await openSocket(t, at(token, user.toUpperCase()))
})

test('refused before the upgrade: nobody 401, another id 404 for staff too, another origin 403, unknown fields 400', async (t) => {
  const { url, user, at, db } = await house(t)
  const other = await aUser(db)
  const path = `${url}/api/v1/ws/connection/${user}`
  await assert.rejects(openSocket(t, path), refused(401))
  await assert.rejects(openSocket(t, at('')), refused(401))
  await assert.rejects(openSocket(t, path, { headers: { authorization: 'Basic eA==' } }), refused(401))
  await assert.rejects(openSocket(t, at(`${user}.s1`, other)), refused(404))
  await assert.rejects(openSocket(t, at(`${other}.s1.super_admin`)), refused(404))
  await assert.rejects(openSocket(t, at(`${user}.s1`, 'me')), refused(404))
  await assert.rejects(openSocket(t, at(`${user}.s1`), { headers: { origin: 'https://evil.example' } }), refused(403))
  await assert.rejects(openSocket(t, at(`${user}.change`)), refused(403))
  await assert.rejects(openSocket(t, `${at(`${user}.s1`)}&debug=1`), refused(400))
})

test('a ticket opens one socket, within its session only, and a JWT in the address can be switched off', async (t) => {
  const { kv, auth, user, at } = await house(t, false)
  const ticket = await issueTicket(kv, auth.principal(user, 's1'))
  await assert.rejects(openSocket(t, at(`${ticket}x`)), refused(401))
  await assert.rejects(openSocket(t, at(ticket.slice(0, -1))), refused(401))
  const raced = await Promise.allSettled([1, 2, 3].map(() => openSocket(t, at(ticket))))
  assert.equal(raced.filter(({ status }) => status === 'fulfilled').length, 1)
  await assert.rejects(openSocket(t, at(ticket)), refused(401))
  const late = await issueTicket(kv, auth.principal(user, 's2'))
  auth.ended.add('s2')
  await assert.rejects(openSocket(t, at(late)), refused(401))
  await assert.rejects(openSocket(t, at(`${user}.s1`)), refused(401))
})

test('each active tunnel has its metrics every second, the idle one too, with speeds from the reports', async (t) => {
  const { db, links, user, server, at } = await house(t)
  const busy = await aTunnel(db, user, server, 5)
  const idle = await aTunnel(db, user, server, 6, 1)
  const client = await openSocket(t, at(`${user}.s1`))
  await client.next('both statuses', (m) => m.type === 'connection_status' && m.connection_id === idle.id)
  assert.deepEqual(links.watched.get(server), [5, 6])
  const told = (ms: number, rx: number, tx: number) => {
    const counters = { slot: 5, version: busy.version, epoch: 1_000, rx: String(rx), tx: String(tx), handshake_at: 1 }
    links.report({ serverId: server, at: ms, peers: [counters], final: false })
  }
  told(10_000, 1_000_000, 0)
  told(11_000, 2_000_000, 5_000_000)
  const metrics = await client.next(
    'speeds',
    (m) => isMetrics(m) && m.connection_id === busy.id && m.bytes_sent === 2_000_000,
  )
  assert.deepEqual(
    [
      metrics.upload_speed_mbps,
      metrics.download_speed_mbps,
      metrics.server_load_pct,
      (metrics.data as { current_speed: string }).current_speed,
    ],
    [8, 40, 40, '6.0 MB/s'],
  )
  await until(
    'the idle one came twice',
    () => client.heard.filter((m) => isMetrics(m) && m.connection_id === idle.id).length >= 2,
  )
  await client.next('rest', (m) => isMetrics(m) && m.bytes_sent === 2_000_000 && m.upload_speed_mbps === 0)
})

test('what is stored already counts in the first message', async (t) => {
  const { db, user, server, at } = await house(t)
  const tunnel = await aTunnel(db, user, server, 5)
  await db`update connections set bytes_sent = 9007199254740993, bytes_received = 7 where id = ${tunnel.id}`
  const client = await openSocket(t, at(`${user}.s1`))
  const metrics = await client.next('metrics', isMetrics)
  assert.equal(metrics.bytes_received, 7)
})

test('changes are told with their reason: begun, moved, ended', async (t) => {
  const { db, kv, user, server, at } = await house(t)
  const client = await openSocket(t, at(`${user}.s1`))
  const none = await client.next('no tunnel', (m) => m.type === 'connection_status')
  assert.deepEqual([none.connection_id, none.status], [null, 'disconnected'])
  const first = await aTunnel(db, user, server, 5)
  await kv.publish('connection-events', event(first, 'connected'))
  await client.next('connected', (m) => m.status === 'connected' && m.connection_id === first.id)
  await db`update connections set superseded_at = now(), superseded_until = now(), superseded_by = gen_random_uuid(), user_slot = null where id = ${first.id}`
  const second = await aTunnel(db, user, server, 6)
  await kv.publish('connection-events', event(second, 'connected'))
  const moved = await client.next('moved', (m) => m.status === 'moved')
  assert.deepEqual([moved.connection_id, moved.reason], [first.id, 'replaced'])
  await endTunnel(db, second, 'plan_ended')
  await kv.publish('connection-events', event(second, 'disconnected', 'plan_ended'))
  const ended = await client.next('ended', (m) => m.status === 'disconnected' && m.connection_id === second.id)
  assert.equal(ended.reason, 'plan_ended')
  client.ws.send('{"type":"get_status"}')
  await until(
    'asked',
    () => client.heard.filter((m) => m.type === 'connection_status' && m.connection_id === null).length === 2,
  )
})

test("another user's tunnel and events are never told", async (t) => {
  const { db, kv, user, server, at } = await house(t)
  const stranger = await aUser(db)
  const theirs = await aTunnel(db, stranger, server, 5)
  const client = await openSocket(t, at(`${user}.s1`))
  await kv.publish('connection-events', event(theirs, 'connected'))
  await new Promise((resolve) => setTimeout(resolve, 1_200))
  assert.equal(
    client.heard.some((m) => m.connection_id === theirs.id),
    false,
  )
})

test('ping is answered, an unknown type is an error and the socket stays; binary is 1003, more than 16 KiB 1009', async (t) => {
  const { user, at } = await house(t)
  const client = await openSocket(t, at(`${user}.s1`))
  client.ws.send('{"type":"ping"}')
  await client.next('pong', (m) => m.type === 'pong')
  for (const text of ['{"type":"dance"}', '{', '[]', '{"type":5}']) client.ws.send(text)
  await until('four errors', () => client.heard.filter((m) => m.type === 'error').length === 4)
  assert.equal(client.ws.readyState, client.ws.OPEN)
  client.ws.send(Buffer.from('{}'))
  assert.equal(await client.closed, 1003)
  const other = await openSocket(t, at(`${user}.s1`))
  other.ws.send(JSON.stringify({ type: 'ping', pad: 'x'.repeat(16_384) }))
  assert.equal(await other.closed, 1009)
})

test('a token ends the socket with 4401 unless it is renewed in time, by the same user and session only', async (t) => {
  const { auth, user, at } = await house(t)
  auth.tokenMs = 1_500
  const forgotten = await openSocket(t, at(`${user}.s1`))
  const renewed = await openSocket(t, at(`${user}.s2`))
  const stranger = await openSocket(t, at(`${user}.s3`))
  auth.tokenMs = 60_000
  renewed.ws.send(JSON.stringify({ type: 'auth', access_token: `${user}.s2` }))
  stranger.ws.send(JSON.stringify({ type: 'auth', access_token: `${user}.s1` }))
  assert.equal(await stranger.closed, 4401)
  assert.equal(await forgotten.closed, 4401)
  await new Promise((resolve) => setTimeout(resolve, 300))
  assert.equal(renewed.ws.readyState, renewed.ws.OPEN)
  renewed.ws.send(JSON.stringify({ type: 'auth', access_token: 'nonsense' }))
  assert.equal(await renewed.closed, 4401)
})

test('a socket opened by ticket outlives the token its session had then', async (t) => {
  const { kv, auth, user, at } = await house(t)
  auth.tokenMs = 500
  const client = await openSocket(t, at(await issueTicket(kv, auth.principal(user, 's1'))))
  await new Promise((resolve) => setTimeout(resolve, 1_800))
  assert.equal(client.ws.readyState, client.ws.OPEN)
})

test("a revoked session loses its sockets at once, the user's other sessions keep theirs", async (t) => {
  const { auth, user, at } = await house(t)
  const gone = await openSocket(t, at(`${user}.s1`))
  const stays = await openSocket(t, at(`${user}.s2`))
  auth.revoke(user, 's1')
  assert.equal(await gone.closed, 4401)
  assert.equal(stays.ws.readyState, stays.ws.OPEN)
  auth.revoke(user, null)
  assert.equal(await stays.closed, 4401)
})

test('a session revoked while its socket was being opened gets none', async (t) => {
  const { auth, user, at } = await house(t)
  const { authenticateToken } = auth
  Object.assign(auth, {
    authenticateToken: async (token: string) => {
      const principal = await authenticateToken(token)
      auth.ended.add('s1')
      return principal
    },
  })
  const client = await openSocket(t, at(`${user}.s1`))
  assert.equal(await client.closed, 4401)
})

test('a user has ten sockets, others are not touched by it; a closed one makes room', async (t) => {
  const { db, user, at } = await house(t)
  const sockets = []
  for (let i = 0; i < 10; i++) sockets.push(await openSocket(t, at(`${user}.s1`)))
  await assert.rejects(openSocket(t, at(`${user}.s1`)), refused(429))
  const other = await aUser(db)
  await openSocket(t, at(`${other}.s1`, other))
  sockets[0]?.ws.close()
  await sockets[0]?.closed
  await until('room', async () => openSocket(t, at(`${user}.s1`)).then(() => true, () => false)) // prettier-ignore
})

test('a client that floods is closed', async (t) => {
  const { user, at } = await house(t)
  const client = await openSocket(t, at(`${user}.s1`))
  for (let i = 0; i < 50; i++) client.ws.send('{"type":"ping"}')
  assert.equal(await client.closed, 1008)
})

test('a status call has the numbers of now and has its tunnels watched', async (t) => {
  const { db, links, usage, user, server } = await house(t)
  const tunnel = await aTunnel(db, user, server, 5)
  const key = { connectionId: tunnel.id, serverId: server, slot: 5, version: tunnel.version }
  assert.deepEqual(await usage.live.read([key, { ...key, connectionId: user }]), [
    { bytesSent: 0n, bytesReceived: 0n, uploadMbps: 0, downloadMbps: 0, lastHandshake: null },
    null,
  ])
  assert.deepEqual(links.watched.get(server), [5])
  for (const second of [1, 2]) {
    const counters = {
      slot: 5,
      version: tunnel.version,
      epoch: 1_000,
      rx: String(second * 1_000_000),
      tx: '0',
      handshake_at: 60,
    }
    links.report({ serverId: server, at: second * 1_000, peers: [counters], final: false })
  }
  assert.deepEqual(await usage.live.read([key]), [
    { bytesSent: 2_000_000n, bytesReceived: 0n, uploadMbps: 8, downloadMbps: 0, lastHandshake: new Date(60_000) },
  ])
})
