import { serversWithNews } from '../apps/server/src/node-link/store.ts'
import { freshDatabase } from '../apps/server/src/platform/testing/index.ts'

// The look over all linked servers for changes nobody told of: once a second on each instance.
// node bench/node-news.bench.ts [servers] [leases of each]

const SERVERS = Number(process.argv[2] ?? 1_000)
const LEASES = Number(process.argv[3] ?? 250)
const LOOKS = 200

const ends: (() => unknown)[] = []
const { sql: db, owner } = await freshDatabase({ after: (done) => void ends.push(done) })
await db`
  insert into vpn_servers (id, hostname, country, country_code, city, location, ip_address, endpoint, subnet_v4, subnet_v6)
  select gen_random_uuid(), 'n' || i, 'Germany', 'DE', 'Berlin', 'Berlin', '192.0.2.1', '192.0.2.1:51820',
         set_masklen('10.0.0.0'::inet + i * 1024, 22)::cidr, set_masklen(('fd00::'::inet + i::bigint * 65536), 112)::cidr
    from generate_series(1, ${SERVERS}::int) i`
await db`insert into leases (server_id, slot, state, version, changed_xid)
         select s.id, n, 'available', 1, (500 + n)::text::xid8 from vpn_servers s, generate_series(2, ${LEASES + 1}::int) n`
await owner`vacuum analyze leases`
const servers = await db<{ id: string }[]>`select id from vpn_servers`

for (const count of [100, SERVERS]) {
  const told = servers.slice(0, count).map(({ id }) => ({ serverId: id, horizon: '900000' }))
  for (let i = 0; i < 20; i++) await serversWithNews(db, told)
  const cpu = process.cpuUsage()
  const times: number[] = []
  for (let i = 0; i < LOOKS; i++) {
    const began = performance.now()
    if ((await serversWithNews(db, told)).length > 0) throw new Error('there is no news')
    times.push(performance.now() - began)
  }
  const used = process.cpuUsage(cpu)
  const median = times.toSorted((a, b) => a - b)[LOOKS >> 1] ?? 0
  const own = (used.user + used.system) / 1_000 / LOOKS
  console.log(`${count} servers: ${median.toFixed(2)} ms a look (median), of it ${own.toFixed(2)} ms of this process`)
}
for (const end of ends.toReversed()) await end()
process.exit()
