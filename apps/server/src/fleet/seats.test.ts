import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { freshDatabase } from '../platform/testing/index.ts'
import { aServer, aUser, connect, disconnect, enrolledServer, house } from './testing/fixtures.ts'

const { sql } = await freshDatabase({ after })
const h = await house({ after }, sql)

type Seats = { max: number; balance: number; available: number; held: number; slots: number }

async function seatsOf(server: string): Promise<Seats> {
  const [row] = await sql<Seats[]>`
    select s.max_connections as max, s.seat_balance as balance, count(*)::int as slots,
           (count(*) filter (where l.state = 'available'))::int as available,
           (count(*) filter (where l.state = 'held'))::int as held
      from vpn_servers s join leases l on l.server_id = s.id where s.id = ${server} group by s.id`
  assert.ok(row)
  return row
}

async function activeServer(max_connections: number, subnet_v4?: string): Promise<string> {
  const { serverId } = await enrolledServer(h, { max_connections, ...(subnet_v4 ? { subnet_v4 } : {}) })
  await sql`update vpn_servers set status = 'active' where id = ${serverId}`
  return serverId
}

const resize = (server: string, max: number) => sql`select resize_server(${server}, ${max})`

test('lowered below its tunnels a server gives no seat back until it is below its new size', async () => {
  const server = await activeServer(4)
  const tunnels: string[] = []
  for (let n = 0; n < 4; n++) tunnels.push((await connect(sql, await aUser(sql), [server])).connection)
  await resize(server, 2)
  assert.deepEqual(await seatsOf(server), { max: 2, balance: 2, available: 0, held: 4, slots: 253 })
  for (const tunnel of tunnels.slice(0, 2)) await disconnect(sql, tunnel)
  assert.equal((await connect(sql, await aUser(sql), [server])).outcome, 'full')
  await disconnect(sql, tunnels[2] ?? '')
  assert.equal((await connect(sql, await aUser(sql), [server])).outcome, 'connected')
  const { balance, available, held } = await seatsOf(server)
  assert.deepEqual([balance, available, held], [0, 0, 2])
})

test('raised above the rows it has a server gets new ones, as far as its subnet reaches', async () => {
  const server = await activeServer(100, '10.200.0.0/22')
  assert.equal((await seatsOf(server)).slots, 401)
  await resize(server, 500)
  assert.deepEqual(await seatsOf(server), { max: 500, balance: 0, available: 500, held: 0, slots: 1021 })
  await resize(server, 2000)
  assert.deepEqual(await seatsOf(server), { max: 2000, balance: -979, available: 1021, held: 0, slots: 1021 })
  await resize(server, 10)
  assert.deepEqual(await seatsOf(server), { max: 10, balance: 0, available: 10, held: 0, slots: 1021 })
})

test('whatever races, free and taken seats are max_connections but for the balance, and it comes to rest', async () => {
  const act = fc.oneof(
    { weight: 5, arbitrary: fc.constant({ kind: 'connect' as const }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant('end' as const), which: fc.nat(1000) }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('resize' as const), max: fc.integer({ min: 1, max: 18 }) }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'settle' as const }) },
  )
  const users = await Promise.all(Array.from({ length: 40 }, () => aUser(sql, 'premium_monthly')))
  let turn = 0
  // A /28 has 13 addresses: with up to 18 seats wanted both kinds of debt occur.
  await fc.assert(
    fc.asyncProperty(fc.array(act, { minLength: 10, maxLength: 60 }), async (acts) => {
      const server = await activeServer(8, `10.201.${turn >> 4}.${(turn++ & 15) * 16}/28`)
      const tunnels: string[] = []
      const live = new Set<string>()
      await Promise.all(
        acts.map(async (one, n) => {
          if (one.kind === 'connect') {
            const { outcome, connection } = await connect(sql, users[n % users.length] ?? '', [server])
            if (outcome !== 'connected') return
            tunnels.push(connection)
            live.add(connection)
          } else if (one.kind === 'end') {
            const id = tunnels[one.which % Math.max(1, tunnels.length)]
            if (id === undefined) return
            live.delete(id)
            await disconnect(sql, id)
          } else if (one.kind === 'resize') await resize(server, one.max)
          else await h.fleet.settle()
        }),
      )
      const seats = await seatsOf(server)
      assert.equal(seats.available + seats.held, seats.max + seats.balance, JSON.stringify(seats))
      assert.equal(seats.held, live.size)
      await sql`select settle_seats(${server})`
      const rest = await seatsOf(server)
      assert.equal(rest.available + rest.held, rest.max + rest.balance)
      assert.ok(rest.balance <= 0 || rest.available === 0, 'a seat above the limit is free')
      assert.ok(
        rest.balance >= 0 || rest.slots === rest.available + rest.held,
        'a seat is owed although there is an address',
      )
      for (const id of live) await disconnect(sql, id)
      await sql`select settle_seats(${server})`
      const empty = await seatsOf(server)
      assert.deepEqual([empty.held, empty.available], [0, Math.min(empty.max, empty.slots)])
    }),
    { numRuns: 15, endOnFailure: true },
  )
})

test('connects that race a deletion end or are refused, nothing of the server stays', async () => {
  const server = await activeServer(50)
  const users = await Promise.all(Array.from({ length: 20 }, () => aUser(sql)))
  const racing = users.map((user) => connect(sql, user, [server]).catch((error: unknown) => String(error)))
  await h.call('POST', `/admin/servers/${server}/drain`)
  assert.equal((await h.call('DELETE', `/admin/servers/${server}`)).status, 204)
  await Promise.all(racing)
  const left = await sql`select from connections where user_id = any (${users}::uuid[]) and status = 'connected'`
  assert.equal(left.length, 0)
})

test('a server added with more tunnels than VPN_SUBNET has left is refused, one within it is not', async () => {
  assert.equal((await h.call('POST', '/admin/servers', aServer({ max_connections: 30_000 }))).status, 409)
  assert.equal((await h.call('POST', '/admin/servers', aServer({ max_connections: 1000 }))).status, 201)
})
