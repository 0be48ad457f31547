import assert from 'node:assert/strict'
import { test } from 'node:test'
import { emptyAccount } from '@prime-vpn/node-protocol'
import { MetricsText, speedText, statusText } from './frames.ts'
import type { Watched } from './live.ts'
import { Wheel } from './wheel.ts'

const watched = (more: Partial<Watched>): Watched => ({
  connectionId: 'c',
  serverId: 's',
  slot: 5,
  version: 1,
  account: emptyAccount,
  up: 0,
  down: 0,
  at: null,
  speedUntil: 0,
  until: 0,
  changes: 0,
  ...more,
})
const NOON = '2026-11-24T12:00:00.000Z'

test('a metrics message has exactly the fields of the contract', () => {
  const account = { ...emptyAccount, rx: 1_500_000n, tx: 9_007_199_254_740_993n }
  const text = new MetricsText('c').at(NOON, watched({ account, up: 125_000, down: 1_075_000, speedUntil: 10 }), 9, 40)
  assert.ok(text.includes('"bytes_received":9007199254740993,'), '64-bit counts stay exact')
  assert.deepEqual(JSON.parse(text), {
    type: 'metrics',
    timestamp: NOON,
    connection_id: 'c',
    bytes_sent: 1_500_000,
    bytes_received: 9_007_199_254_740_992,
    upload_speed_mbps: 1,
    download_speed_mbps: 8.6,
    ping_ms: null,
    server_load_pct: 40,
    data: { bytes_sent: 1_500_000, bytes_received: 9_007_199_254_740_992, current_speed: '1.2 MB/s', latency: null },
  })
})

test('a tunnel that moved and then rests shows no speed, and its bytes go on when it moves again', () => {
  const frames = new MetricsText('c')
  const read = (w: Watched, now: number) =>
    JSON.parse(frames.at(NOON, w, now, null)) as {
      bytes_sent: number
      upload_speed_mbps: number
      server_load_pct: null
    }
  const moving = watched({ account: { ...emptyAccount, rx: 5n }, up: 1_000_000, speedUntil: 10, changes: 1 })
  assert.deepEqual([read(moving, 5).upload_speed_mbps, read(moving, 11).upload_speed_mbps], [8, 0])
  moving.account = { ...emptyAccount, rx: 6n }
  moving.changes++
  assert.equal(read(moving, 12).bytes_sent, 6)
  assert.equal(read(moving, 12).server_load_pct, null)
})

test('speeds are written in units of 10^6 bytes with one decimal', () => {
  assert.deepEqual([0, 49_999, 1_234_567, 125_000_000].map(speedText), [
    '0.0 MB/s',
    '0.0 MB/s',
    '1.2 MB/s',
    '125.0 MB/s',
  ])
})

test('a reason cannot leave its string', () => {
  assert.equal((JSON.parse(statusText(NOON, 'c', 'moved', '"}')) as { reason: string }).reason, '"}')
})

test('the wheel visits each member once a second, spread, and after a pause once', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  let now = 0
  t.mock.method(performance, 'now', () => now)
  const visits = new Map<string, number>()
  let largest = 0
  const wheel = new Wheel<string>((members) => {
    let moment = 0
    for (const member of members) {
      visits.set(member, (visits.get(member) ?? 0) + 1)
      moment++
    }
    largest = Math.max(largest, moment)
  })
  const members = Array.from({ length: 100 }, (_, i) => `m${i}`)
  for (const member of members) wheel.add(member)
  wheel.start()
  const pass = (ms: number) => {
    now += ms
    t.mock.timers.tick(20)
  }
  for (let i = 0; i < 150; i++) pass(20)
  assert.deepEqual(new Set(visits.values()), new Set([3]))
  assert.equal(largest, 2)
  visits.clear()
  pass(60_000)
  assert.deepEqual(new Set(visits.values()), new Set([1]))
  wheel.delete('m0')
  visits.clear()
  for (let i = 0; i < 50; i++) pass(20)
  assert.equal(visits.has('m0'), false)
  wheel.stop()
})
