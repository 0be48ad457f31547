import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { WebSocket } from 'ws'
import { listen, silent, aServer } from '../apps/server/src/node-link/testing/fleet-of-one.ts'
import { memoryKv } from '../apps/server/src/platform/kv/index.ts'
import { freshDatabase } from '../apps/server/src/platform/testing/index.ts'
import { TestAuth, TestLinks } from '../apps/server/src/usage/testing/theatre.ts'
import { createUsage } from '../apps/server/src/usage/usage.ts'
import { Wheel } from '../apps/server/src/usage/wheel.ts'

// One metrics message a second to each of N customers' sockets, as share of one core, against the floor: a bare
// ws.send of the same bytes to the same sockets, spread in the same way. Rounds interleaved; clients are another process.
// node bench/metrics-sockets.bench.ts [sockets] [rounds]

const SOCKETS = Number(process.argv[2] ?? 1_000)
const ROUNDS = Number(process.argv[3] ?? 5)
const ROUND_MS = 5_000
const AT_ONCE = 50
/** By then every customer's tunnels have been looked at again and are watched. */
const OWN_SETTLE_MS = 11_000
const idOf = (prefix: number, i: number): string => `${prefix}0000000-0000-4000-8000-${String(i).padStart(12, '0')}`

/** An empty pong under a mask: a sign of life (RFC 6455, 5.5.3). */
const PONG = Buffer.from([0x8a, 0x80, 0, 0, 0, 0])

/** The customers: sockets that ask for the upgrade and read. */
async function beCustomers(port: number): Promise<void> {
  const dial = async (i: number): Promise<void> => {
    const user = idOf(1, i)
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.write(
      `GET /ws/connection/${user} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n` +
        `Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer ${user}.s1\r\n\r\n`,
    )
    await once(socket, 'data')
    socket.resume()
    setInterval(() => socket.write(PONG), 20_000)
  }
  for (let i = 0; i < SOCKETS; i += AT_ONCE)
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, SOCKETS - i) }, (_, k) => dial(i + k)))
  process.send?.('ready')
}

if (process.env.CUSTOMERS_OF !== undefined) {
  await beCustomers(Number(process.env.CUSTOMERS_OF))
  await once(process, 'disconnect')
  process.exit()
}

const ends: (() => unknown)[] = []
const scope = { after: (done: () => unknown) => void ends.push(done) }
const { sql: db, owner } = await freshDatabase(scope)
const server = await aServer(db)
await db`insert into users (id, email) select format('10000000-0000-4000-8000-%s', lpad(i::text, 12, '0'))::uuid, i || '@example.com'
           from generate_series(0, ${SOCKETS - 1}::int) i`
await db`insert into connections (id, user_id, server_id, user_slot, client_ip, client_public_key, lease_slot, lease_version)
         select format('20000000-0000-4000-8000-%s', lpad(i::text, 12, '0'))::uuid, format('10000000-0000-4000-8000-%s', lpad(i::text, 12, '0'))::uuid,
                ${server}, 0, '10.77.0.9', 'k' || i, i, 1 from generate_series(0, ${SOCKETS - 1}::int) i`
await owner`analyze`

const auth = new TestAuth()
auth.tokenMs = 3_600_000
const links = new TestLinks()
const usage = createUsage({ db, kv: memoryKv(), log: silent, auth, links, loadOf: () => 40, queryJwt: true })
const sockets: WebSocket[] = []
const { handle } = usage.socketRoute
const url = await listen(scope, [
  {
    ...usage.socketRoute,
    handle: (req, accept) =>
      handle(req, async (protocol) => {
        const ws = await accept(protocol)
        sockets.push(ws)
        return ws
      }),
  },
])
const customers = fork(new URL(import.meta.url), process.argv.slice(2), {
  env: { ...process.env, CUSTOMERS_OF: new URL(url).port },
})
await once(customers, 'message')
await sleep(1_000)

let bytes = 0
const text = 'x'.repeat(355)
const floor = new Wheel<WebSocket>((members) => {
  for (const ws of members) ws.send(text)
})
for (const ws of sockets) floor.add(ws)

let second = 0
function everybodyMoves(): void {
  second++
  const peers = Array.from({ length: SOCKETS }, (_, slot) => ({
    slot,
    version: 1,
    epoch: 1_000,
    rx: String(second * 1_234_567),
    tx: String(second * 12_345_678),
    handshake_at: 1_700_000_000,
  }))
  links.report({ serverId: server, at: second * 1_000, peers, final: false })
}

/** Per cent of one core in one round. */
async function share(start: () => unknown, stop: () => unknown, settleMs: number): Promise<number> {
  await start()
  await sleep(settleMs)
  const before = sockets.reduce((sum, ws) => sum + sent(ws), 0)
  const cpu = process.cpuUsage()
  const began = performance.now()
  await sleep(ROUND_MS)
  const used = process.cpuUsage(cpu)
  const took = performance.now() - began
  bytes = (sockets.reduce((sum, ws) => sum + sent(ws), 0) - before) / sockets.length / (took / 1_000)
  await stop()
  return (used.user + used.system) / 10 / took
}
const sent = (ws: WebSocket): number => (ws as unknown as { _socket: { bytesWritten: number } })._socket.bytesWritten

const wheel = { start: () => usage.start(), stop: () => usage.stop() }
const rows: [string, () => Promise<number>][] = [
  ['floor: bare ws.send', () => share(() => floor.start(), () => floor.stop(), 1_000)],
  ['nothing moves', () => share(wheel.start, wheel.stop, OWN_SETTLE_MS)],
  [
    'all tunnels move each second',
    async () => {
      const moves = setInterval(everybodyMoves, 1_000)
      const used = await share(wheel.start, wheel.stop, OWN_SETTLE_MS)
      clearInterval(moves)
      return used
    },
  ],
] // prettier-ignore
const figures = new Map<string, number[]>()
for (let round = 0; round <= ROUNDS; round++) {
  for (const [name, run] of rows) {
    const used = await run()
    // The first round warms up.
    if (round > 0) figures.set(name, [...(figures.get(name) ?? []), used])
    if (round === ROUNDS) console.log(`${name}: ${Math.round(bytes)} bytes a second and socket`)
  }
}
const median = (list: number[]): number => list.toSorted((a, b) => a - b)[list.length >> 1] ?? 0
const base = median(figures.get('floor: bare ws.send') ?? [])
console.log(`${sockets.length} sockets, ${ROUNDS} rounds of ${ROUND_MS / 1_000} s, per cent of one core (median)`)
for (const [name, list] of figures) {
  const ratios = list.map((used, i) => used / (figures.get('floor: bare ws.send')?.[i] ?? base))
  console.log(
    `  ${name.padEnd(30)} ${median(list).toFixed(1).padStart(6)} %   ${median(ratios).toFixed(2)} x the floor`,
  )
}
customers.disconnect()
for (const end of ends.toReversed()) await end()
process.exit()
