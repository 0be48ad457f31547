import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { emptyAccount, foldCounters, type CounterAccount } from '@prime-vpn/node-protocol'
import { one } from '../platform/db/index.ts'
import { freshDatabase } from '../platform/testing/index.ts'
import { aServer, aTunnel, aUser, endTunnel, type Tunnel } from '../node-link/testing/fleet-of-one.ts'
import { foldReports, type Counted } from './fold-store.ts'

const { sql: db, owner } = await freshDatabase({ after })
const server = await aServer(db)
let slot = 2
const tunnel = async () => aTunnel(db, await aUser(db), server, slot++)

const counted = ({ serverId, slot, version }: Tunnel, more: Partial<Counted>): Counted => ({
  serverId,
  slot,
  version,
  epoch: 1_000,
  rx: 0n,
  tx: 0n,
  handshakeAt: 0,
  bytesPerSecond: 0n,
  final: false,
  ...more,
})

type Totals = {
  sent: bigint
  received: bigint
  final: boolean
  peak: bigint
  handshake: Date | null
  reported: Date | null
}
const totals = ({ id }: Tunnel) =>
  one(db<Totals[]>`
    select bytes_sent as sent, bytes_received as received, totals_final as final, peak_bytes_per_second as peak,
           last_handshake_at as handshake, reported_at as reported from connections where id = ${id}`)

test('a report counts once however often it comes, and what the node received the customer sent', async () => {
  const t = await tunnel()
  const report = counted(t, { rx: 700n, tx: 5_000n, handshakeAt: 1_700_000_000, bytesPerSecond: 90n })
  assert.equal(await foldReports(db, [report]), 1)
  assert.equal(await foldReports(db, [report]), 0, 'the second changes no row')
  const { sent, received, peak, handshake } = await totals(t)
  assert.deepEqual([sent, received, peak, handshake?.getTime()], [700n, 5_000n, 90n, 1_700_000_000_000])
})

test('an older report never takes anything back', async () => {
  const t = await tunnel()
  await foldReports(db, [counted(t, { rx: 700n, tx: 10n, handshakeAt: 1_700_000_000, bytesPerSecond: 9n })])
  await foldReports(db, [counted(t, { rx: 600n, tx: 11n, handshakeAt: 1_600_000_000, bytesPerSecond: 8n })])
  const { sent, received, peak, handshake } = await totals(t)
  assert.deepEqual([sent, received, peak, handshake?.getTime()], [700n, 11n, 9n, 1_700_000_000_000])
})

test('a new life of the interface counts on top, a late report of the old one does not count again', async () => {
  const t = await tunnel()
  await foldReports(db, [counted(t, { epoch: 1, rx: 100n })])
  await foldReports(db, [counted(t, { epoch: 2, rx: 5n })])
  await foldReports(db, [counted(t, { epoch: 1, rx: 100n })])
  assert.equal((await totals(t)).sent, 105n)
})

test('the statement follows foldCounters through any order of reports', async () => {
  const t = await tunnel()
  let seed = 20_261_124
  const random = (below: number) => (seed = (seed * 48_271) % 2_147_483_647) % below
  let account: CounterAccount = emptyAccount
  for (let i = 0; i < 200; i++) {
    const report = {
      epoch: 1 + random(6),
      rx: BigInt(random(1_000)),
      tx: BigInt(random(1_000)),
      handshakeAt: random(100),
    }
    account = foldCounters(account, { ...report, handshake_at: report.handshakeAt })
    await foldReports(db, [counted(t, report)])
    const { sent, received } = await totals(t)
    assert.deepEqual([sent, received], [account.rx, account.tx], `after report ${i}`)
  }
})

test('the last counters of an ended tunnel make its totals final; those of a running one do not', async () => {
  const t = await tunnel()
  await foldReports(db, [counted(t, { rx: 1n, final: true })])
  assert.equal((await totals(t)).final, false)
  await endTunnel(db, t)
  await foldReports(db, [counted(t, { rx: 1n, final: true })])
  assert.deepEqual(await totals(t).then(({ sent, final }) => [sent, final]), [1n, true])
})

test('counters go to the tunnel that held the slot in their version, never to the next one', async () => {
  const first = await tunnel()
  await endTunnel(db, first)
  await db`select confirm_cleared(${server}, array[${first.slot}]::int[], array[${first.version + 1}]::bigint[])`
  await foldReports(db, [counted(first, { rx: 10n, final: true })])
  const second = await aTunnel(db, await aUser(db), server, first.slot)
  assert.equal(await foldReports(db, [counted(first, { epoch: 9, rx: 99n, final: true })]), 0)
  assert.equal(
    await foldReports(db, [counted(second, { version: second.version + 1, rx: 99n })]),
    0,
    'a version to come',
  )
  await foldReports(db, [counted(second, { rx: 3n })])
  assert.deepEqual([(await totals(first)).sent, (await totals(second)).sent], [10n, 3n])
})

test("another server's node and an empty slot count nothing", async () => {
  const t = await tunnel()
  const other = await aServer(db)
  assert.equal(await foldReports(db, [{ ...counted(t, { rx: 5n }), serverId: other }]), 0)
  assert.equal(await foldReports(db, [counted({ ...t, slot: 250 }, { rx: 5n })]), 0)
  assert.equal((await totals(t)).sent, 0n)
})

test('the largest counts a node may tell, in ever new epochs, never overflow', async () => {
  const t = await tunnel()
  for (let epoch = 1; epoch < 12; epoch++) await foldReports(db, [counted(t, { epoch, rx: 1n << 60n, tx: 1n << 60n })])
  assert.equal((await totals(t)).sent, 1n << 62n)
})

test('many slots are one statement', async () => {
  const tunnels = []
  for (let i = 0; i < 20; i++) tunnels.push(await tunnel())
  assert.equal(
    await foldReports(
      db,
      tunnels.map((t, i) => counted(t, { rx: BigInt(i + 1) })),
    ),
    20,
  )
  assert.deepEqual(
    await Promise.all(tunnels.map(async (t) => (await totals(t)).sent)),
    tunnels.map((_, i) => BigInt(i + 1)),
  )
})

test('counting touches no index: the row is rewritten in its page', async () => {
  const t = await tunnel()
  await owner`vacuum full connections`
  const inPlace = await db.begin(async (tx) => {
    const read = async () =>
      (await one(tx<{ hot: bigint }[]>`select pg_stat_get_xact_tuples_hot_updated('connections'::regclass) as hot`)).hot
    const before = await read()
    const everything = { epoch: 2, rx: 5n, tx: 5n, handshakeAt: 5, bytesPerSecond: 5n }
    assert.equal(await foldReports(tx, [counted(t, everything)]), 1)
    return (await read()) - before
  })
  assert.equal(inPlace, 1n)
})
