import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { one, type Sql } from '../platform/db/index.ts'
import { newId } from '../platform/ids.ts'
import { cancelClaim, claimTunnel } from './claim-store.ts'
import { endTunnels } from './end.ts'
import { aDevice, aServer, aUser, house, publicKey, type House } from './testing/house.ts'

const OVERLAP_MS = 30_000

const claim = (
  h: House,
  userId: string,
  candidates: string[],
  more: { deviceId?: string; publicKey?: string; restSeconds?: number } = {},
) =>
  claimTunnel(h.sql, {
    connectionId: newId(),
    userId,
    deviceId: more.deviceId ?? null,
    publicKey: more.deviceId ? null : (more.publicKey ?? publicKey()),
    generated: !more.deviceId && !more.publicKey,
    sealedPsk: Buffer.from('sealed'),
    candidates,
    restSeconds: more.restSeconds ?? 0,
    overlapMs: OVERLAP_MS,
  })

/** What must be true between any two transactions. */
async function assertSound(sql: Sql): Promise<void> {
  const servers = await sql`
    select s.id from vpn_servers s join leases l on l.server_id = s.id group by s.id
    having max_connections + seat_balance - (select count(*) from seat_debts d where d.server_id = s.id)
           <> count(*) filter (where l.state in ('available', 'held'))`
  assert.deepEqual([...servers], [], 'available + held = max_connections + seat_balance - debts')
  const holders = await sql`
    select c.id from connections c left join leases l on l.connection_id = c.id
     where c.status = 'connected' and (l.slot is distinct from c.lease_slot or l.version <> c.lease_version
        or l.public_key <> c.client_public_key or l.server_id <> c.server_id)
    union all select l.connection_id from leases l left join connections c on c.id = l.connection_id
     where l.state = 'held' and c.status is distinct from 'connected'`
  assert.deepEqual([...holders], [], 'every tunnel holds its address, and nobody else does')
  const above = await sql`
    select c.user_id from connections c join entitlements e on e.user_id = c.user_id
     where c.status = 'connected' and c.superseded_at is null
     group by c.user_id, e.max_connections having count(*) > e.max_connections`
  assert.deepEqual([...above], [], 'nobody is above his limit')
  const twice = await sql`
    select server_id, client_ip from connections where status = 'connected' group by 1, 2 having count(*) > 1
    union all select server_id, client_ipv6 from connections where status = 'connected' group by 1, 2 having count(*) > 1`
  assert.deepEqual([...twice], [], 'no address has two holders')
}

test('500 connects at once of 100 users on a /24: no duplicate, nobody above a limit, no error but the two refusals', async (t) => {
  const h = await house(t)
  const server = await aServer(h.sql, { max: 250, prefix: 24 })
  const users = await Promise.all(
    Array.from({ length: 100 }, (_, i) => aUser(h.sql, i < 50 ? 'premium_monthly' : 'free')),
  )
  const outcomes = await Promise.all(
    Array.from({ length: 500 }, (_, i) => claim(h, users[i % 100] ?? '', [server]).then((c) => c.outcome)),
  )
  const count = (outcome: string) => outcomes.filter((o) => o === outcome).length
  assert.equal(count('connected'), 250, 'all seats are taken')
  assert.equal(count('connected') + count('limit') + count('full'), 500)
  assert.ok(count('limit') >= 200 && count('full') >= 1, String([count('limit'), count('full')]))
  await assertSound(h.sql)
})

test('racing for one key gives one tunnel, on several servers and by several accounts too', async (t) => {
  const h = await house(t)
  const [a, b] = [await aServer(h.sql), await aServer(h.sql)]
  const users = await Promise.all(Array.from({ length: 8 }, () => aUser(h.sql)))
  const key = publicKey()
  const outcomes = await Promise.all(
    users.flatMap((user) => [
      claim(h, user, [a, b], { publicKey: key }).then((c) => c.outcome),
      claim(h, user, [b, a], { publicKey: key }).then((c) => c.outcome),
    ]),
  )
  assert.equal(outcomes.filter((o) => o === 'key_in_use').length, 14)
  const [{ n } = { n: 0 }] = await h.sql<{ n: number }[]>`
    select count(*)::int as n from connections where status = 'connected' and superseded_at is null`
  assert.equal(n, 1)
  await assertSound(h.sql)
})

test('an address is given again only when its node has confirmed and its rest is over', async (t) => {
  const h = await house(t)
  const server = await aServer(h.sql, { max: 1, prefix: 29 })
  const user = await aUser(h.sql)
  const given: string[] = []
  const turnOver = async (confirm: boolean): Promise<string> => {
    const c = await claim(h, user, [server], { restSeconds: 60 })
    if (!('address' in c)) return c.outcome
    given.push(c.address)
    const ended = await endTunnels(h.sql, [c.connection], 'user')
    if (confirm)
      for (const { slot, version } of ended)
        await h.sql`select confirm_cleared(${server}, ${[slot]}::int[], ${[version]}::bigint[])`
    return c.outcome
  }
  for (let i = 0; i < 4; i++) assert.equal(await turnOver(true), 'connected')
  assert.equal(await turnOver(false), 'connected', 'the fifth address of five')
  assert.equal(new Set(given).size, 5)
  assert.equal(await turnOver(true), 'full', 'four rest, one is not confirmed')
  await h.sql`update leases set free_at = free_at - interval '61 seconds' where state <> 'clearing'`
  assert.equal(await turnOver(true), 'connected')
  assert.equal(given.at(-1), given[0], 'the one that rested longest')
  for (let i = 0; i < 3; i++) assert.equal(await turnOver(true), 'connected')
  assert.ok(!given.slice(5).includes(given[4] ?? ''), 'what was never confirmed stays away')
  await assertSound(h.sql)
})

test('a free address that a rolled-back rival had locked is not called full', async (t) => {
  const h = await house(t)
  const server = await aServer(h.sql, { max: 1, prefix: 29 })
  const users = await Promise.all(Array.from({ length: 20 }, () => aUser(h.sql)))
  for (let round = 0; round < 5; round++) {
    const outcomes = await Promise.all(users.map((user) => claim(h, user, [server])))
    const won = outcomes.filter((c) => c.outcome === 'connected')
    assert.equal(won.length, 1)
    await h.sql`select end_connections(array(select id from connections where status = 'connected'), 'user')`
    await h.sql`update leases set state = 'reserve' where state = 'clearing'`
    await assertSound(h.sql)
  }
})

type Step =
  | { do: 'connect'; user: number; device: boolean; server: number }
  | { do: 'end' | 'cancel' | 'confirm' | 'deviceGone' | 'move'; pick: number }
  | { do: 'userGone'; pick: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('connect' as const), user: fc.nat(5), device: fc.boolean(), server: fc.nat(1) }) }, // prettier-ignore
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom('end', 'cancel', 'confirm', 'confirm', 'deviceGone', 'move'), pick: fc.nat(99) }) }, // prettier-ignore
  { weight: 1, arbitrary: fc.record({ do: fc.constant('userGone' as const), pick: fc.nat(5) }) },
)

class Town {
  readonly users: string[] = []
  readonly devices: string[] = []
  readonly h: House
  readonly servers: string[]
  constructor(h: House, servers: string[]) {
    this.h = h
    this.servers = servers
  }
  async settle(): Promise<void> {
    for (let i = 0; i < 6; i++) {
      this.users[i] = await aUser(this.h.sql, i % 2 ? 'premium_monthly' : 'free')
      this.devices[i] = await aDevice(this.h.sql, this.users[i] ?? '')
    }
  }
  async run(s: Step): Promise<void> {
    const { sql } = this.h
    const nth = async <T>(rows: PromiseLike<readonly T[]>, pick: number): Promise<T | undefined> => {
      const found = await rows
      return found[pick % Math.max(1, found.length)]
    }
    const active = () => sql<{ id: string; user_id: string; kept: boolean }[]>`
      select id, user_id, kept_at is not null as kept from connections where status = 'connected' order by started_at`
    switch (s.do) {
      case 'connect': {
        const device = s.device ? { deviceId: this.devices[s.user] ?? '' } : {}
        const order = s.server === 0 ? this.servers : this.servers.toReversed()
        await claim(this.h, this.users[s.user] ?? '', order, device)
        return
      }
      case 'end': {
        const c = await nth(active(), s.pick)
        if (c) await endTunnels(sql, [c.id], 'user')
        return
      }
      case 'cancel': {
        const c = await nth(active(), s.pick)
        if (c) await cancelClaim(sql, { connectionId: c.id, userId: c.user_id, kept: c.kept, overlapMs: OVERLAP_MS })
        return
      }
      case 'confirm': {
        const l = await nth(
          sql<{ server_id: string; slot: number; version: bigint }[]>`
          select server_id, slot, version from leases where state = 'clearing' order by server_id, slot`,
          s.pick,
        )
        if (l) await sql`select confirm_cleared(${l.server_id}, ${[l.slot]}::int[], ${[Number(l.version)]}::bigint[])`
        return
      }
      case 'move':
        await sql`update connections set superseded_until = now() where superseded_at is not null and status = 'connected'`
        return
      case 'deviceGone': {
        const i = s.pick % 6
        await sql`delete from devices where id = ${this.devices[i] ?? null}`
        const there = (await sql`select from users where id = ${this.users[i] ?? null}`).length > 0
        if (there) this.devices[i] = await aDevice(sql, this.users[i] ?? '')
        return
      }
      case 'userGone':
        await sql`delete from users where id = ${this.users[s.pick] ?? null}`
        this.users[s.pick] = await aUser(sql)
        this.devices[s.pick] = await aDevice(sql, this.users[s.pick] ?? '')
    }
  }
}

const RUNS = process.env.PRIME_LONG ? 200 : 6

test('whatever happens in whatever order, seats, holders and limits stay right', async (t) => {
  const h = await house(t)
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
      const town = new Town(h, [
        await aServer(h.sql, { max: 4, prefix: 29 }),
        await aServer(h.sql, { max: 3, prefix: 28 }),
      ])
      await town.settle()
      for (const s of steps) {
        await town.run(s)
        await assertSound(h.sql)
      }
    }),
    { seed: 20261124, numRuns: RUNS, endOnFailure: true },
  )
})

test('the same with eight at a time: no deadlock, and all is right when it is quiet', async (t) => {
  const h = await house(t)
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 80, maxLength: 160 }), async (steps) => {
      const town = new Town(h, [
        await aServer(h.sql, { max: 4, prefix: 29 }),
        await aServer(h.sql, { max: 3, prefix: 28 }),
      ])
      await town.settle()
      const queue = [...steps]
      const work = async (): Promise<void> => {
        for (let s = queue.shift(); s; s = queue.shift()) {
          // Two who replace the same lost user or device may meet; that is the test's own doing.
          await town
            .run(s)
            .catch((error: Error & { code?: string }) => assert.match(error.code ?? error.message, /^23/))
        }
      }
      await Promise.all(Array.from({ length: 8 }, work))
      await assertSound(h.sql)
    }),
    { seed: 42, numRuns: RUNS, endOnFailure: true },
  )
})

test('a lowered limit takes seats away as tunnels end', async (t) => {
  const h = await house(t)
  const server = await aServer(h.sql, { max: 3, prefix: 28 })
  for (let i = 0; i < 3; i++) await claim(h, await aUser(h.sql), [server])
  await h.sql`select resize_server(${server}, 1)`
  await assertSound(h.sql)
  const ids = (await h.sql<{ id: string }[]>`select id from connections`).map((row) => row.id)
  await endTunnels(h.sql, ids.slice(0, 2), 'user')
  await assertSound(h.sql)
  const balance = await one(h.sql<{ b: number }[]>`select seat_balance as b from vpn_servers where id = ${server}`)
  assert.equal(balance.b, 0)
  assert.equal((await claim(h, await aUser(h.sql), [server])).outcome, 'full')
})
