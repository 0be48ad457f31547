import assert from 'node:assert/strict'
import { after, test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { memoryKv, type Kv } from '../../platform/kv/index.ts'
import { createLog } from '../../platform/log.ts'
import { defer, freshDatabase } from '../../platform/testing/index.ts'
import { networkText, parseAddress, parseNetwork, type Network } from '../address/address.ts'
import { Bans } from './bans.ts'
import { forgetOldBans, listBans, removeBans, writeAutomatic, writeManual } from './store.ts'

const db = await freshDatabase({ after })

const net = (text: string): Network => parseNetwork(text) ?? assert.fail(text)
const at = (text: string) => parseAddress(text) ?? assert.fail(text)
const log = createLog('silent')

async function instance(t: TestContext, kv: Kv = memoryKv(), sql = db.sql): Promise<Bans> {
  const bans = new Bans({ sql, kv, log, now: () => Math.floor(performance.now()) })
  await bans.start()
  defer(t, () => bans.close())
  return bans
}

async function within(ms: number, holds: () => boolean): Promise<void> {
  const until = performance.now() + ms
  while (!holds()) {
    assert.ok(performance.now() < until, `not within ${ms} ms`)
    await sleep(10)
  }
}

test('a ban holds at once, reaches another instance within a second and survives a restart', async (t) => {
  // Each has a store of its own, as if Redis were gone: only the database connects them.
  const [one, other] = [await instance(t), await instance(t)]
  void one.ban(net('192.0.2.10'), 'too many requests', 3_600)
  assert.ok(one.leftMs(at('192.0.2.10')) > 3_590_000)
  await within(1_000, () => other.leftMs(at('192.0.2.10')) > 3_590_000)
  assert.ok((await instance(t)).leftMs(at('192.0.2.10')) > 3_590_000, 'a fresh instance knows it')
  assert.equal(other.leftMs(at('192.0.2.11')), 0)
})

test('lifting a ban is heard everywhere, also by the key-value store alone', async (t) => {
  const kv = memoryKv()
  const deaf = { ...db.sql, listen: () => Promise.reject(new Error('no LISTEN here')) } as unknown as typeof db.sql
  const sql = Object.assign(((...args: Parameters<typeof db.sql>) => db.sql(...args)) as typeof db.sql, deaf)
  const [one, other] = [await instance(t, kv, sql), await instance(t, kv, sql)]
  void one.ban(net('192.0.2.20'), 'x', 3_600)
  await within(1_000, () => other.leftMs(at('192.0.2.20')) > 0)
  assert.equal((await removeBans(db.sql, net('192.0.2.20'))).length, 1)
  await other.spread({ network: net('192.0.2.20'), leftMs: 0, byStaff: false })
  await within(1_000, () => one.leftMs(at('192.0.2.20')) === 0)
})

test('who made a ban is known here, to another instance, and after a restart', async (t) => {
  const kv = memoryKv()
  const [one, other] = [await instance(t), await instance(t, kv)]
  const by = '0198c0de-0000-7000-8000-000000000001'
  void one.ban(net('192.0.2.90'), 'x', 3_600)
  await writeManual(db.sql, { network: net('192.0.2.91'), reason: 'x', seconds: 3_600, by })
  await within(1_000, () => other.leftMs(at('192.0.2.90')) > 0 && other.leftMs(at('192.0.2.91')) > 0)
  for (const bans of [one, other, await instance(t)]) {
    await within(1_000, () => bans.leftByStaffMs(at('192.0.2.91')) > 0)
    assert.equal(bans.leftByStaffMs(at('192.0.2.90')), 0)
  }
  await kv.publish('bans', '192.0.2.90 60000 manual')
  await within(1_000, () => other.leftByStaffMs(at('192.0.2.90')) > 0)
})

test('repeat offenders are banned twice as long each time, and seen from two instances it counts once', async () => {
  const lengths: number[] = []
  for (let i = 0; i < 4; i++) {
    const [first] = await writeAutomatic(db.sql, net('192.0.2.30'), 'x', 1_800)
    const [again] = await writeAutomatic(db.sql, net('192.0.2.30'), 'x', 1_800)
    lengths.push(Math.round((first?.leftMs ?? 0) / 1_000))
    assert.ok(Math.abs((again?.leftMs ?? 0) - (first?.leftMs ?? 0)) < 5_000)
    await db.owner`update bans set until = clock_timestamp() where network = '192.0.2.30'`
  }
  assert.deepEqual(lengths, [1_800, 3_600, 7_200, 14_400])
})

test('who asks after a ban hears its real length once it is written, and is not kept waiting by a database that is away', async (t) => {
  const bans = await instance(t)
  const left = () => Math.round(bans.leftMs(at('192.0.2.33')) / 1_000)
  await db.owner`insert into bans (network, id, reason, kind, until)
    values ('192.0.2.33', gen_random_uuid(), 'x', 'automatic', clock_timestamp() - interval '1 hour')`
  await Promise.all([bans.ban(net('192.0.2.32'), 'x', 600), bans.ban(net('192.0.2.33'), 'x', 600)])
  assert.equal(left(), 1_200)
  await db.owner`alter table bans rename to bans_away`
  await bans.ban(net('192.0.2.34'), 'x', 600)
  await db.owner`alter table bans_away rename to bans`
  assert.ok(bans.leftMs(at('192.0.2.34')) > 590_000)
})

test('no ban by itself lasts longer than 30 days', async () => {
  await db.owner`insert into bans (network, id, reason, kind, strikes, until)
    values ('192.0.2.31', gen_random_uuid(), 'x', 'automatic', 1000, clock_timestamp() - interval '1 day')`
  const [ban] = await writeAutomatic(db.sql, net('192.0.2.31'), 'x', 86_400)
  assert.equal(Math.round((ban?.leftMs ?? 0) / 86_400_000), 30)
})

test('an IPv6 offender who comes back, or moves about in a /48, is banned by the /48', async () => {
  const banned = async (text: string) =>
    (await writeAutomatic(db.sql, net(text), 'x', 60)).map((n) => networkText(n.network))
  assert.deepEqual(await banned('2001:db8:1:1::/64'), ['2001:db8:1:1::/64'])
  await db.owner`update bans set until = clock_timestamp() where network = '2001:db8:1:1::/64'`
  assert.deepEqual(await banned('2001:db8:1:1::/64'), ['2001:db8:1:1::/64', '2001:db8:1::/48'])
  assert.equal((await banned('2001:db8:2:1::/64')).length, 1)
  assert.equal((await banned('2001:db8:2:2::/64')).length, 1)
  assert.deepEqual(await banned('2001:db8:2:3::/64'), ['2001:db8:2:3::/64', '2001:db8:2::/48'])
})

test('a short ban that ended does not hide a wider one that holds', async (t) => {
  const bans = await instance(t)
  await db.owner`insert into bans (network, id, reason, kind, until) values
    ('2001:db8:9::/48', gen_random_uuid(), 'x', 'manual', clock_timestamp() + interval '1 minute'),
    ('2001:db8:9:1::/64', gen_random_uuid(), 'x', 'manual', clock_timestamp() + interval '0.2 seconds')`
  await within(1_000, () => bans.leftMs(at('2001:db8:9:1::1')) > 0)
  await sleep(250)
  assert.ok(bans.leftMs(at('2001:db8:9:1::1')) > 50_000)
})

test('of several bans on an address the one that ends last says the wait and names the block', async (t) => {
  const bans = await instance(t)
  const minutes = (n: number) => n * 60_000
  for (const [block, leftMs, byStaff] of [
    ['203.0.113.5', minutes(30), false],
    ['203.0.113.0/24', minutes(120), true],
    ['203.0.0.0/16', minutes(60), true],
    ['2001:db8:7:1::/64', minutes(10), true],
    ['2001:db8:7::/48', minutes(20), false],
  ] as const)
    bans.apply({ network: net(block), leftMs, byStaff })
  const told = (text: string, byStaff: boolean) => {
    const block = bans.blockOf(at(text), byStaff)
    const left = byStaff ? bans.leftByStaffMs(at(text)) : bans.leftMs(at(text))
    return [block && networkText(block), Math.round(left / 60_000)]
  }
  assert.deepEqual(told('203.0.113.5', false), ['203.0.113.0/24', 120])
  assert.deepEqual(told('203.0.9.1', false), ['203.0.0.0/16', 60])
  assert.deepEqual(told('2001:db8:7:1::1', false), ['2001:db8:7::/48', 20])
  assert.deepEqual(told('2001:db8:7:1::1', true), ['2001:db8:7:1::/64', 10])
  assert.deepEqual(told('192.0.2.99', false), [undefined, 0])
})

test('an automatic ban does not shorten or rename one made by staff', async () => {
  const by = '0198c0de-0000-7000-8000-000000000001'
  await writeManual(db.sql, { network: net('192.0.2.40'), reason: 'fraud', seconds: 86_400, by })
  await writeAutomatic(db.sql, net('192.0.2.40'), 'too many requests', 60)
  const { data } = await listBans(db.sql, { page: 1, per_page: 100 })
  const ban = data.find(({ network }) => network === '192.0.2.40/32')
  assert.equal(ban?.reason, 'fraud')
  assert.ok((ban?.until.getTime() ?? 0) > Date.now() + 80_000_000)
})

test('while the database is away a ban holds in memory, and is written when it is back', async (t) => {
  const bans = await instance(t)
  await db.owner`alter table bans rename to bans_away`
  void bans.ban(net('192.0.2.50'), 'x', 600)
  await sleep(150)
  assert.ok(bans.leftMs(at('192.0.2.50')) > 0)
  await db.owner`alter table bans_away rename to bans`
  const written = async () => (await db.sql`select from bans where network = '192.0.2.50'`).length === 1
  const until = performance.now() + 3_000
  while (!(await written())) {
    assert.ok(performance.now() < until, 'it was never written')
    await sleep(50)
  }
})

test('however many bans are made while the database is away, it is asked once a second', async (t) => {
  let asked = 0
  const counted = (...args: Parameters<typeof db.sql>) => {
    if (String(args[0]).includes('insert into bans')) asked++
    return db.sql(...args)
  }
  const bans = await instance(t, memoryKv(), Object.assign(counted as typeof db.sql, db.sql))
  await db.owner`alter table bans rename to bans_away`
  for (let i = 0; i < 40; i++) await bans.ban(net(`198.51.100.${i}`), 'x', 600)
  assert.equal(asked, 1)
  await sleep(1_300)
  assert.equal(asked, 2)
  await db.owner`alter table bans_away rename to bans`
  const written = async () => (await db.sql`select from bans where network << '198.51.100.0/24'`).length === 40
  const until = performance.now() + 3_000
  while (!(await written())) {
    assert.ok(performance.now() < until, 'they were never written')
    await sleep(50)
  }
})

test('bans that ended a week ago are forgotten, younger ones are remembered for the next time', async () => {
  await db.owner`insert into bans (network, id, reason, kind, until) values
    ('192.0.2.60', gen_random_uuid(), 'x', 'automatic', clock_timestamp() - interval '8 days'),
    ('192.0.2.61', gen_random_uuid(), 'x', 'automatic', clock_timestamp() - interval '6 days')`
  await forgetOldBans(db.sql)
  const rows = await db.sql<{ network: string }[]>`select network::text from bans where network << '192.0.2.60/31'`
  assert.deepEqual(
    rows.map((row) => row.network),
    ['192.0.2.61/32'],
  )
})

test('what is heard while the bans are being read is not lost', async (t) => {
  const bans = await instance(t)
  await sleep(100) // the reading that follows LISTEN is over
  const reading = bans.reload()
  bans.apply({ network: net('192.0.2.80'), leftMs: 60_000, byStaff: false })
  await reading
  assert.ok(bans.leftMs(at('192.0.2.80')) > 0)
})

test('a message that cannot be read changes nothing', async (t) => {
  const kv = memoryKv()
  const bans = await instance(t, kv)
  const size = bans.size
  for (const text of ['', 'x', '192.0.2.70', '192.0.2.70 x', '192.0.2.70 -5', '192.0.2.70 NaN', '0.0.0.0/0', '{}'])
    await kv.publish('bans', text)
  await sleep(30)
  assert.equal(bans.size, size)
  assert.equal(bans.leftMs(at('192.0.2.70')), 0)
})
