import assert from 'node:assert/strict'
import { after, before, test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection, User } from './api.ts'
import { eventually } from './node-agent-process.ts'
import { HOST, HOST_6, NODE_OUTER, World, type Customer } from './world.ts'

const MB = 1_000_000
/** Reports of a watched tunnel come each second; what else runs on the machine may delay one. */
const ONE_REPORT_MS = 4_000
/** The agent's next try after the control plane or itself was away. */
const RETURN_MS = 15_000

let world: World
let serverId: string

before(async () => {
  world = new World()
  await world.startServer()
  serverId = await world.joinNode()
  await world.startWeb()
})
after(() => world.close())

const keyOf = (connection: Connection): string => {
  const address = `${connection.assigned_ip}/32`
  const found = [...world.peers()].find(([, peer]) => peer.allowedIps.split(',').includes(address))
  return found?.[0] ?? assert.fail(`no peer with ${address}`)
}

/** The kernel's counters of a tunnel, and the API's, once they agree. */
async function agreed(
  user: User,
  connection: Connection,
  withinMs = ONE_REPORT_MS,
): Promise<{ sent: bigint; received: bigint }> {
  const key = keyOf(connection)
  let kernel = { sent: 0n, received: 0n }
  await eventually(
    'API and kernel agree',
    async () => {
      kernel = world.peers().get(key) ?? kernel
      const status = (await user.status()).find((c) => c.connection_id === connection.connection_id)
      return (
        status !== undefined &&
        BigInt(status.bytes_sent) === kernel.sent &&
        BigInt(status.bytes_received) === kernel.received
      )
    },
    withinMs,
  )
  return kernel
}

let customers = 0
/** A new customer whose tunnel is up; what the test leaves of it is ended afterwards. */
async function connected(t: TestContext): Promise<{ user: User; connection: Connection; customer: Customer }> {
  const user = await world.api.user()
  const connection = await user.connect()
  t.after(() => user.disconnect(connection.connection_id))
  customers++
  const customer = world.customer(customers)
  customer.up(connection.wg_config)
  return { user, connection, customer }
}

test('a customer connects, moves bytes through the tunnel, sees them counted, and is gone a second after the end', async (t) => {
  const { user, connection, customer } = await connected(t)
  const socket = await user.socket()

  assert.equal(customer.download(5 * MB), 5 * MB)
  assert.ok(customer.upload(1 * MB))
  assert.equal(customer.seenAs(), NODE_OUTER)
  assert.match(customer.resolvers, /nameserver 1\.1\.1\.1/)

  const kernel = await agreed(user, connection)
  assert.ok(kernel.received > 5n * BigInt(MB) && kernel.received < 9n * BigInt(MB), `${kernel.received}`)
  assert.ok(kernel.sent > BigInt(MB) && kernel.sent < 3n * BigInt(MB), `${kernel.sent}`)
  await eventually(
    'the socket tells the same',
    () =>
      socket.frames.some(
        (f) =>
          f.type === 'metrics' && BigInt(f.bytes_received) === kernel.received && BigInt(f.bytes_sent) === kernel.sent,
      ),
    ONE_REPORT_MS,
  )

  const key = keyOf(connection)
  const ended = await user.disconnect(connection.connection_id)
  const at = performance.now()
  assert.equal(ended.totals_final, true)
  assert.ok(BigInt(ended.bytes_received) >= kernel.received && BigInt(ended.bytes_received) < kernel.received + 10_000n)
  assert.ok(!world.peers().has(key), 'the node holds the peer no more')
  assert.equal(customer.pings(HOST), false)
  assert.ok(performance.now() - at < 2_500)
  await eventually('the socket hears of the end', () =>
    socket.frames.some((f) => f.type === 'connection_status' && f.status === 'disconnected'),
  )
  assert.deepEqual(await user.disconnect(connection.connection_id), ended)
  socket.close()
})

test('the same over IPv6', async (t) => {
  const { user, connection, customer } = await connected(t)
  assert.ok(customer.pings(HOST_6))
  assert.equal(customer.download(2 * MB, HOST_6), 2 * MB)
  const kernel = await agreed(user, connection)
  assert.ok(kernel.received > 2n * BigInt(MB))
  await user.disconnect(connection.connection_id)
  assert.equal(customer.pings(HOST_6), false)
})

test('two customers cannot reach each other, nor the node behind the tunnel', async (t) => {
  const a = await connected(t)
  const b = await connected(t)
  assert.ok(a.customer.pings(HOST) && b.customer.pings(HOST))
  for (const address of [b.connection.assigned_ip, b.connection.assigned_ipv6])
    assert.equal(a.customer.pings(address), false)
  world.node.run(
    'sh',
    '-c',
    `for p in 22 8000; do ${process.execPath} -e "require('net').createServer().listen($p)" >/dev/null 2>&1 & echo $! ; done`,
  )
  await sleep(300)
  for (const host of ['10.77.0.1', NODE_OUTER, '10.250.0.2']) {
    for (const port of ['22', '8000']) {
      const open = a.customer.space.does(
        'curl',
        '-s',
        '-m',
        '1',
        '-o',
        '/dev/null',
        `telnet://${host}:${port}`,
        '--connect-timeout',
        '1',
      )
      assert.equal(open, false, `${host}:${port}`)
    }
  }
  await a.user.disconnect(a.connection.connection_id)
  await b.user.disconnect(b.connection.connection_id)
})

test('the control plane killed while bytes flow: the tunnel goes on, and counters are right after its return', async (t) => {
  const { user, connection, customer } = await connected(t)
  assert.equal(customer.download(1 * MB), 1 * MB)
  await world.killServer()
  assert.equal(customer.download(3 * MB), 3 * MB)
  await world.startServer()
  await world.operational(serverId)
  assert.equal(customer.download(1 * MB), 1 * MB)
  const kernel = await agreed(user, connection, RETURN_MS)
  assert.ok(kernel.received > 5n * BigInt(MB) && kernel.received < 9n * BigInt(MB), `${kernel.received}`)
  const ended = await user.disconnect(connection.connection_id)
  assert.ok(BigInt(ended.bytes_received) >= kernel.received)
})

test('the agent killed while bytes flow: the tunnel goes on, and counters are right after its return', async (t) => {
  const { user, connection, customer } = await connected(t)
  assert.equal(customer.download(1 * MB), 1 * MB)
  await agreed(user, connection)
  await world.killAgent()
  assert.equal(customer.download(3 * MB), 3 * MB)
  world.restartAgent()
  await world.operational(serverId)
  assert.equal(customer.download(1 * MB), 1 * MB)
  const kernel = await agreed(user, connection, RETURN_MS)
  assert.ok(kernel.received > 5n * BigInt(MB) && kernel.received < 9n * BigInt(MB), `${kernel.received}`)
  await user.disconnect(connection.connection_id)
})

test('the link cut during ten connects and ten ends: what is on the node afterwards is exactly what should be', async () => {
  const cutFor = process.env.PRIME_LONG ? 30_000 : 8_000
  const old = await Promise.all(Array.from({ length: 10 }, () => world.api.user()))
  const tunnels = await Promise.all(old.map((user) => user.connect()))
  const stay = await world.api.user()
  const kept = await stay.connect()
  const young = await Promise.all(Array.from({ length: 10 }, () => world.api.user()))

  world.wire(false)
  const cutAt = performance.now()
  const connects = young.map((user) => user.tryConnect())
  const ends = old.map((user, i) => user.disconnect(tunnels[i]?.connection_id ?? ''))
  for (const answer of await Promise.all(connects)) assert.equal(answer.status, 503, JSON.stringify(answer.body))
  for (const ended of await Promise.all(ends)) assert.equal(ended.totals_final, false)
  await sleep(Math.max(0, cutFor - (performance.now() - cutAt)))
  world.wire(true)

  const wanted = `${kept.assigned_ip}/32`
  await eventually(
    'the node holds exactly the tunnel that stayed',
    () => {
      const held = [...world.peers().values()]
      return held.length === 1 && held[0]?.allowedIps.split(',').includes(wanted) === true
    },
    20_000,
  )
  for (const user of young) assert.deepEqual(await user.status(), [])
  await world.operational(serverId)
  const again = await Promise.all(young.map((user) => user.connect()))
  assert.equal(world.peers().size, 11)
  assert.equal(new Set(again.map((c) => c.assigned_ip)).size, 10)
  await Promise.all(young.map((user, i) => user.disconnect(again[i]?.connection_id ?? '')))
  await stay.disconnect(kept.connection_id)
  assert.equal(world.peers().size, 0)
})
