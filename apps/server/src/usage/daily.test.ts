import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { one } from '../platform/db/index.ts'
import { freshDatabase } from '../platform/testing/index.ts'
import { aServer, aTunnel, aUser, endTunnel } from '../node-link/testing/fleet-of-one.ts'
import { forgetConnections, settleDays } from './daily.ts'
import { foldReports } from './fold-store.ts'
import { readStatistics, type Group } from './statistics-store.ts'

const { sql: db } = await freshDatabase({ after })
const server = await aServer(db)
let slot = 2

async function used(rx: bigint, hoursAgo: number) {
  const user = await aUser(db)
  const tunnel = await aTunnel(db, user, server, slot++)
  await db`update connections set started_at = clock_timestamp() - make_interval(hours => ${hoursAgo}) where id = ${tunnel.id}`
  const carry = (total: bigint) =>
    foldReports(db, [{ ...tunnel, epoch: 1, rx: total, tx: 0n, handshakeAt: 0, bytesPerSecond: 0n, final: false }])
  await carry(rx)
  return { ...tunnel, carry }
}
const days = (userId: string) =>
  db<{ sent: bigint; connections: bigint; seconds: bigint }[]>`
    select bytes_sent as sent, connections, duration_seconds as seconds from usage_daily where user_id = ${userId}`
const read = (userId: string | null, group: Group = 'day') => {
  const to = new Date()
  return readStatistics(db, { userId, from: new Date(to.getTime() - 30 * 86_400_000), to, group })
}

test('what a running tunnel carried is added to its day once, however often the job runs', async () => {
  const tunnel = await used(100n, 2)
  await settleDays(db)
  await settleDays(db)
  await Promise.all([settleDays(db), settleDays(db)])
  const [first] = await days(tunnel.userId)
  assert.deepEqual([first?.sent, first?.connections], [100n, 1n])
  assert.ok(first && first.seconds >= 7_200n && first.seconds < 7_260n)
  await tunnel.carry(130n)
  await settleDays(db)
  const rows = await days(tunnel.userId)
  assert.equal(
    rows.reduce((sum, row) => sum + row.sent, 0n),
    130n,
  )
  assert.equal(
    rows.reduce((sum, row) => sum + row.connections, 0n),
    1n,
  )
})

test('statistics show the days and what has been carried since, and nothing twice', async () => {
  const tunnel = await used(100n, 1)
  const before = await read(tunnel.userId)
  await settleDays(db)
  await tunnel.carry(150n)
  const after = await read(tunnel.userId)
  const sum = (rows: typeof before) => rows.reduce((total, row) => total + row.bytes_sent, 0n)
  assert.deepEqual([sum(before), sum(after)], [100n, 150n])
  assert.equal(
    after.reduce((total, row) => total + row.connections, 0n),
    1n,
  )
})

test('groups are days, servers, locations and devices', async () => {
  const tunnel = await used(100n, 1)
  const keys = async (group: Group) => (await read(tunnel.userId, group)).map((row) => row.key)
  assert.deepEqual(await keys('day'), [new Date().toISOString().slice(0, 10)])
  assert.deepEqual(await keys('server'), [server])
  assert.deepEqual(await keys('location'), ['Berlin'])
  assert.deepEqual(await keys('device'), ['none'])
})

test("one's statistics hold nobody else's, those of everybody hold all", async () => {
  const [mine, theirs] = [await used(1n, 1), await used(10n, 1)]
  assert.equal((await read(mine.userId))[0]?.bytes_sent, 1n)
  const all = (await read(null)).reduce((sum, row) => sum + row.bytes_sent, 0n)
  assert.ok(all >= 11n)
  assert.ok((await read(theirs.userId)).length > 0)
})

test('a connection goes 30 days after its end; what it carried stays in the days', async () => {
  const [old, young, running] = [await used(100n, 900), await used(200n, 900), await used(300n, 900)]
  await endTunnel(db, old)
  await endTunnel(db, young)
  await db`update connections set ended_at = clock_timestamp() - interval '31 days' where id = ${old.id}`
  await db`update connections set ended_at = clock_timestamp() - interval '29 days' where id = ${young.id}`
  await forgetConnections(db)
  await forgetConnections(db)
  const left = await db<
    { id: string }[]
  >`select id from connections where id = any(${[old.id, young.id, running.id]}::uuid[])`
  assert.deepEqual(left.map(({ id }) => id).toSorted(), [young.id, running.id].toSorted())
  assert.equal(
    (await days(old.userId)).reduce((sum, row) => sum + row.sent, 0n),
    100n,
  )
})

test('late counters of a settled connection still come to the days', async () => {
  const tunnel = await used(100n, 5)
  await endTunnel(db, tunnel)
  await db`update connections set ended_at = clock_timestamp() - interval '2 hours' where id = ${tunnel.id}`
  await settleDays(db)
  assert.equal(
    (await one(db<{ settled: boolean }[]>`select daily_settled as settled from connections where id = ${tunnel.id}`))
      .settled,
    true,
  )
  await tunnel.carry(140n)
  await settleDays(db)
  assert.equal(
    (await days(tunnel.userId)).reduce((sum, row) => sum + row.sent, 0n),
    140n,
  )
})

test('a removed server leaves its traffic under an unknown one, an erased user leaves nothing', async () => {
  const away = await aServer(db)
  const user = await aUser(db)
  const tunnel = await aTunnel(db, user, away, 5)
  await foldReports(db, [{ ...tunnel, epoch: 1, rx: 9n, tx: 0n, handshakeAt: 0, bytesPerSecond: 0n, final: false }])
  await endTunnel(db, tunnel)
  await db`delete from vpn_servers where id = ${away}`
  assert.deepEqual(
    (await read(user, 'location')).map(({ key, bytes_sent }) => [key, bytes_sent]),
    [['unknown', 9n]],
  )
  await settleDays(db)
  await db`delete from users where id = ${user}`
  assert.equal((await days(user)).length, 0)
})
