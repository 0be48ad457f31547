import assert from 'node:assert/strict'
import { after, test, type TestContext } from 'node:test'
import type { Counters } from '@prime-vpn/node-protocol'
import { one, openPool } from '../platform/db/index.ts'
import { systemClock } from '../platform/clock.ts'
import { defer, freshDatabase } from '../platform/testing/index.ts'
import { aServer, aTunnel, aUser, endTunnel, silent, until, type Tunnel } from '../node-link/testing/fleet-of-one.ts'
import { createLedger } from './ledger.ts'

const { sql: db, url } = await freshDatabase({ after })
const server = await aServer(db)
let slot = 2
const tunnel = async () => aTunnel(db, await aUser(db), server, slot++)

function aLedger(t: TestContext, sql = db) {
  const ledger = createLedger({ db: sql, log: silent, clock: systemClock })
  defer(t, () => ledger.stop())
  return ledger
}

const counters = ({ slot, version }: Tunnel, rx: bigint, more: Partial<Counters> = {}): Counters => ({
  slot,
  version,
  epoch: 1_000,
  rx: String(rx),
  tx: '0',
  handshake_at: 0,
  ...more,
})
const report = (at: number | null, ...peers: Counters[]) => ({ serverId: server, at, peers, final: at === null })
const row = ({ id }: Tunnel) =>
  one(db<{ sent: bigint; peak: bigint; final: boolean }[]>`
    select bytes_sent as sent, peak_bytes_per_second as peak, totals_final as final from connections where id = ${id}`)

test('reports wait for company, are written together and only then called stored', async (t) => {
  const ledger = aLedger(t)
  const [a, b] = [await tunnel(), await tunnel()]
  let stored = 0
  void ledger.add(report(1_000, counters(a, 5n))).then(() => stored++)
  void ledger.add(report(2_000, counters(a, 9n), counters(b, 7n))).then(() => stored++)
  await new Promise((resolve) => setTimeout(resolve, 100))
  assert.deepEqual([stored, (await row(a)).sent], [0, 0n])
  await until('both are stored', () => stored === 2)
  assert.deepEqual([(await row(a)).sent, (await row(b)).sent], [9n, 7n])
})

test('the last counters of a tunnel are written at once', async (t) => {
  const ledger = aLedger(t)
  const a = await tunnel()
  await endTunnel(db, a)
  const began = performance.now()
  await ledger.add(report(null, counters(a, 5n)))
  assert.ok(performance.now() - began < 1_000)
  const { sent, final } = await row(a)
  assert.deepEqual([sent, final], [5n, true])
})

test('the first handshake of a peer is written at once, later ones wait for company', async (t) => {
  const ledger = aLedger(t)
  const a = await tunnel()
  const shaken = counters(a, 5n, { handshake_at: Math.floor(Date.now() / 1000) })
  const began = performance.now()
  await ledger.add(report(1_000, shaken))
  assert.ok(performance.now() - began < 1_000)
  let stored = false
  void ledger.add(report(2_000, { ...shaken, rx: '9' })).then(() => (stored = true))
  await new Promise((resolve) => setTimeout(resolve, 300))
  assert.equal(stored, false)
  await ledger.add(report(3_000, { ...shaken, version: shaken.version + 1 }))
  assert.ok(performance.now() - began < 1_500, 'the slot has a new peer')
})

test('an interface that began anew between two writes counts both lives', async (t) => {
  const ledger = aLedger(t)
  const a = await tunnel()
  void ledger.add(report(1_000, counters(a, 100n, { epoch: 1 })))
  void ledger.add(report(2_000, counters(a, 7n, { epoch: 2 })))
  await ledger.flush()
  assert.equal((await row(a)).sent, 107n)
})

test('the peak is the highest average between two reports, up and down together', async (t) => {
  const ledger = aLedger(t)
  const a = await tunnel()
  const at = [
    [1_000, 0n],
    [2_000, 4_000n],
    [2_100, 900_000n],
    [4_000, 900_000n],
    [19_000, 900_001n],
  ] as const
  for (const [ms, rx] of at) void ledger.add(report(ms, counters(a, rx, { tx: String(rx) })))
  await ledger.flush()
  assert.equal((await row(a)).peak, 896_000n, '(896,000 + 896,000) bytes in 2 s; 100 ms are no average')
})

test('what no tunnel can carry is passed over, the rest of the report counts', async (t) => {
  const ledger = aLedger(t)
  const [a, b] = [await tunnel(), await tunnel()]
  const year3000 = 32_503_680_000
  void ledger.add(
    report(
      1_000,
      counters(a, 10n ** 19n),
      counters(b, 5n, { handshake_at: year3000 }),
      counters(b, 6n, { handshake_at: 9e15 }),
    ),
  )
  await ledger.flush()
  assert.deepEqual([(await row(a)).sent, (await row(b)).sent], [0n, 6n])
})

test('while the database is away reports wait, merge and are written when it is back', async (t) => {
  const sql = openPool(url, { max: 1 })
  defer(t, () => sql.end({ timeout: 1 }))
  let away = true
  const flaky = new Proxy(sql, {
    apply: (target, self, args) => {
      if (away) return Promise.reject(new Error('CONNECTION_CLOSED'))
      return Reflect.apply(target, self, args) as unknown
    },
  })
  const ledger = aLedger(t, flaky)
  const a = await tunnel()
  await endTunnel(db, a)
  let stored = false
  void ledger.add(report(1_000, counters(a, 3n)))
  const last = ledger.add(report(null, counters(a, 5n))).then(() => (stored = true))
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.equal(stored, false)
  away = false
  await last
  const { sent, final } = await row(a)
  assert.deepEqual([sent, final], [5n, true])
})
