/**
 * Taking one of 65,533 addresses of a /16 and giving it back (docs/decisions/0007), against a bare insert and delete of a
 * row with the same columns, at 1 and 32 clients, while the server is empty, 90 % and 99.9 % full. Interleaved rounds on a
 * durable database. `node bench/leases.bench.ts [operations] [rounds]`
 */
import { randomUUID } from 'node:crypto'
import type { Sql } from '../apps/server/src/platform/db/index.ts'
import { median, quantile, race, withDurableDatabase } from './durable-database.ts'

const OPERATIONS = Number(process.argv[2] ?? 1_000)
const ROUNDS = Number(process.argv[3] ?? 5)
const SEATS = 65_000

async function prepare(owner: Sql): Promise<string> {
  const server = randomUUID()
  await owner`
    insert into vpn_servers (id, hostname, country, country_code, city, location, ip_address, endpoint, status,
                             max_connections, subnet_v4, subnet_v6)
    values (${server}, 'bench.example', 'Germany', 'DE', 'Berlin', 'Berlin', '192.0.2.1', '192.0.2.1:51820', 'active',
            ${SEATS}, '10.64.0.0/16', 'fd00:64::/64')`
  await owner`select create_leases(${server})`
  await owner`create table bare (server_id uuid, slot int, holder uuid, public_key text, free_at timestamptz,
                                 primary key (server_id, slot))`
  await owner`alter table leases drop constraint leases_connection_id_fkey`
  return server
}

/** Fills the server to this share; the rows keep their order of rest. */
async function fill(owner: Sql, server: string, share: number): Promise<void> {
  await owner`
    update leases set state = 'available', connection_id = null, public_key = null, free_at = clock_timestamp()
     where server_id = ${server} and state = 'held'`
  await owner`
    update leases set state = 'held', connection_id = gen_random_uuid(), public_key = 'filler ' || slot
     where server_id = ${server} and slot in (
       select slot from leases where server_id = ${server} and state = 'available' order by free_at limit ${Math.floor(SEATS * share)})`
  await owner.unsafe('vacuum analyze leases')
}

/** Take, hold, let go, confirmed: every write of an address's life. */
const takeAndGive = (sql: Sql, server: string) => async (): Promise<void> => {
  const [taken] = await sql<{ slot: number }[]>`
    with t as (select slot from take_lease(${server}, '0'))
    update leases l set state = 'held', connection_id = gen_random_uuid(), public_key = 'bench ' || l.slot
      from t where l.server_id = ${server} and l.slot = t.slot returning l.slot`
  if (!taken) throw new Error('full')
  await sql`update leases set state = 'available', connection_id = null, public_key = null, free_at = clock_timestamp()
             where server_id = ${server} and slot = ${taken.slot}`
}

let row = 0
const insertAndDelete = (sql: Sql, server: string) => async (): Promise<void> => {
  const slot = row++
  await sql`insert into bare values (${server}, ${slot}, gen_random_uuid(), 'bench ' || ${slot}::text, clock_timestamp())`
  await sql`delete from bare where server_id = ${server} and slot = ${slot}`
}

await withDurableDatabase(async ({ sql, owner }) => {
  const server = await prepare(owner)
  // The way back is part of the life measured here, without a node: held goes to available at once.
  await owner`alter table leases disable trigger leases_before_update`
  await owner`alter table leases disable trigger leases_after_end`
  console.log(`${OPERATIONS} times take and give back, ${ROUNDS} interleaved rounds, medians\n`)
  console.log('full     clients  bare/s  lease/s  ratio  lease p50 ms  p99 ms')
  for (const share of [0, 0.9, 0.999]) {
    await fill(owner, server, share)
    for (const clients of [1, 32]) {
      const bare: number[] = []
      const lease: number[] = []
      const each: number[] = []
      for (let round = 0; round < ROUNDS; round++) {
        bare.push((OPERATIONS * 1000) / (await race(clients, OPERATIONS, insertAndDelete(sql, server))).wall)
        const run = await race(clients, OPERATIONS, takeAndGive(sql, server))
        lease.push((OPERATIONS * 1000) / run.wall)
        each.push(...run.each)
      }
      const [a, b] = [median(bare), median(lease)]
      console.log(
        `${`${share * 100} %`.padEnd(8)} ${String(clients).padStart(7)} ${a.toFixed(0).padStart(7)} ${b.toFixed(0).padStart(8)} ` +
          `${(b / a).toFixed(2).padStart(6)} ${quantile(each, 0.5).toFixed(2).padStart(13)} ${quantile(each, 0.99).toFixed(2).padStart(7)}`,
      )
    }
  }
})
