/**
 * Choosing a server: what a scan of 10,000 costs, and how evenly 1,000 connects at once are spread, beside the two ways
 * that suggest themselves. `node bench/selection.bench.ts [--database]`; the second form also reads a fleet of 10,000
 * servers with 200,000 tunnels from a database, as each instance does every second.
 */
import { readFacts, readTicks } from '../apps/server/src/fleet/server-store.ts'
import { Snapshot } from '../apps/server/src/fleet/snapshot.ts'
import { choose, emptyBoard, setUsed, type Board, type Choice } from '../apps/server/src/fleet/score.ts'
import { seeded } from '../apps/server/src/fleet/testing/random.ts'
import type { Sql } from '../apps/server/src/platform/db/index.ts'
import { freshDatabase } from '../apps/server/src/platform/testing/index.ts'

const SERVERS = 10_000
const ROUNDS = 5
const random = seeded(1)
const berlin = { latitude: 52.5, longitude: 13.4 }

function aBoard(size: number, loadOf: () => number): Board {
  const board = emptyBoard(size)
  board.takes.fill(1)
  board.max.fill(250)
  board.seats.fill(250)
  for (let i = 0; i < size; i++) {
    setUsed(board, i, Math.floor(250 * loadOf()))
    const angle = random() * Math.PI * 2
    board.where.set([Math.cos(angle), Math.sin(angle), 0], 3 * i)
  }
  return board
}

function microseconds(work: () => unknown, times = 300): number {
  const before = process.cpuUsage()
  for (let n = 0; n < times; n++) work()
  return process.cpuUsage(before).user / times
}

function leastUsed(used: Int32Array): number {
  let best = 0
  for (let i = 1; i < used.length; i++) if ((used[i] ?? 0) < (used[best] ?? 0)) best = i
  return best
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN

function scans(): void {
  const wish: Choice = { premium: true, random, limit: 8 }
  const busy = aBoard(SERVERS, () => 0.1 + 0.8 * random())
  const empty = aBoard(SERVERS, () => 0)
  const some = Array.from({ length: 500 }, (_, i) => i * 20)
  const cases: Record<string, () => unknown> = {
    'baseline: least used of 10,000, nothing else': () => leastUsed(busy.used),
    '10,000, loads differ': () => choose(busy, wish),
    '10,000, loads differ, place known': () => choose(busy, { ...wish, place: berlin }),
    '10,000, all empty (all are equals)': () => choose(empty, wish),
    '10,000, all empty, place known': () => choose(empty, { ...wish, place: berlin }),
    '500 of a country': () => choose(busy, { ...wish, among: some }),
  }
  const found = new Map<string, number[]>(Object.keys(cases).map((name) => [name, []]))
  for (let round = 0; round < ROUNDS; round++)
    for (const [name, work] of Object.entries(cases)) found.get(name)?.push(microseconds(work))
  console.log(`one choice, microseconds of CPU, median of ${ROUNDS} rounds`)
  for (const [name, values] of found) console.log(`  ${median(values).toFixed(1).padStart(8)}  ${name}`)
}

type Way = (boards: Board[], n: number) => { board: Board; row: number }

/** Busiest / mean of 1,000 connects at once on `servers` empty servers. */
function spread(servers: number, instances: number, way: Way): number {
  const boards = Array.from({ length: instances }, () => aBoard(servers, () => 0))
  const counts = new Int32Array(servers)
  for (let n = 0; n < 1000; n++) {
    const { row } = way(boards, n)
    counts[row] = (counts[row] ?? 0) + 1
  }
  return Math.max(...counts) / (1000 / servers)
}

const ours: Way = (boards, n) => {
  const board = boards[n % boards.length] ?? emptyBoard(0)
  const row = choose(board, { premium: true, random, limit: 8 })[0] ?? 0
  setUsed(board, row, (board.used[row] ?? 0) + 1)
  return { board, row }
}
const anyone: Way = (boards) => {
  const board = boards[0] ?? emptyBoard(0)
  return { board, row: Math.floor(random() * board.size) }
}
const stale: Way = (boards) => ({ board: boards[0] ?? emptyBoard(0), row: 0 })

function balances(): void {
  const worst = (servers: number, instances: number, way: Way) =>
    Math.max(...Array.from({ length: 20 }, () => spread(servers, instances, way))).toFixed(2)
  console.log('1,000 connects at once, busiest/mean, worst of 20')
  for (const servers of [10, 20, 50, 100]) {
    const rows = [worst(servers, 1, ours), worst(servers, 4, ours), worst(servers, 1, anyone), worst(servers, 1, stale)]
    console.log(
      `  ${String(servers).padStart(4)} servers: one instance ${rows[0]}, four ${rows[1]}; random ${rows[2]}, least loaded of a stale view ${rows[3]}`,
    )
  }
}

async function fill(owner: Sql): Promise<void> {
  await owner`
    insert into vpn_servers (id, hostname, country, country_code, city, location, ip_address, endpoint, public_key, status,
                             subnet_v4, subnet_v6)
    select gen_random_uuid(), 's' || n, 'Germany', 'DE', 'City ' || n % 300, 'L' || n % 300, '192.0.2.1', 's:51820', n::text,
           'active', set_masklen(inet '10.0.0.0' + n * 256::bigint, 24)::cidr,
           ('fd00:0:0:' || to_hex(n) || '::/64')::cidr
      from generate_series(0, ${SERVERS - 1}) n`
  await owner`
    insert into nodes (id, server_id, identity_key, backend, agent_version, linked_at, last_seen_at)
    select gen_random_uuid(), id, decode(md5(id::text) || md5(id::text), 'hex'), 'kernel', '1', now(), now() + interval '1 hour'
      from vpn_servers`
  // A user for each server, who has all of its tunnels.
  await owner`insert into users (id, email) select id, hostname || '@example.com' from vpn_servers`
  await owner`
    insert into connections (id, user_id, server_id, user_slot, client_ip, client_public_key, lease_slot, lease_version)
    select gen_random_uuid(), s.id, s.id, n, '10.0.0.2', '', n, 1 from vpn_servers s, generate_series(2, 21) n`
  await owner`
    insert into leases (server_id, slot, state, connection_id, public_key)
    select server_id, lease_slot, 'held', id, id::text from connections`
  await owner`insert into leases (server_id, slot, state) select id, n, 'available' from vpn_servers, generate_series(22, 101) n`
  await owner`analyze`
}

async function reads(): Promise<void> {
  const endings: (() => Promise<void> | void)[] = []
  const { sql, owner } = await freshDatabase({ after: (done) => void endings.push(done) })
  await owner`set statement_timeout = 0`
  await fill(owner)
  const snapshot = new Snapshot()
  snapshot.apply(
    await readTicks(sql),
    await readFacts(
      sql,
      (await readTicks(sql)).map(([id]) => id),
    ),
  )
  const took: number[] = []
  const cpu: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const begun = performance.now()
    const before = process.cpuUsage()
    snapshot.begin()
    const ticks = await readTicks(sql)
    snapshot.apply(ticks, await readFacts(sql, snapshot.stale(ticks)))
    took.push(performance.now() - begun)
    cpu.push(process.cpuUsage(before).user / 1000)
  }
  console.log(
    `a look at ${SERVERS} servers with ${20 * SERVERS} tunnels: ${median(took).toFixed(0)} ms, of it ${median(cpu).toFixed(0)} ms our CPU`,
  )
  for (const end of endings) await end()
}

scans()
balances()
if (process.argv.includes('--database')) await reads()
