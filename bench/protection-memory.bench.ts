import { Redis } from 'ioredis'
import { testRedis } from '../apps/server/src/platform/testing/index.ts'
import { throwawaySecrets } from '../apps/server/src/platform/secrets.ts'
import { parseAddress } from '../apps/server/src/protection/address/address.ts'
import { MinuteCounters } from '../apps/server/src/protection/counters.ts'
import { CallerIds } from '../apps/server/src/protection/keys.ts'
import { MemoryLimiter } from '../apps/server/src/protection/limiter/memory.ts'
import { RedisLimiter } from '../apps/server/src/protection/limiter/redis.ts'
import { DEFAULT_LIMITS } from '../apps/server/src/protection/rules.ts'

// What a million distinct addresses with one anonymous request each occupy, and how long a judgement takes among them.
// Run: node --expose-gc bench/protection-memory.bench.ts [addresses]

const ADDRESSES = Number(process.argv[2] ?? 1_000_000)
const IN_REDIS = Math.min(ADDRESSES, 100_000)
const HOUR = 3_600_000

const now = () => Math.floor(performance.now())
const ids = new CallerIds(throwawaySecrets(), { now: () => Date.UTC(2026, 0, 1, 12) }, HOUR)
const idOf = (i: number): string => {
  const address = parseAddress(`${1 + (i >> 24)}.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`)
  if (!address) throw new Error('no address')
  return ids.ofAddress(address).id
}
const wishesOf = (id: string) => [
  { rule: 'IP', id, limit: DEFAULT_LIMITS.IP },
  { rule: 'API', id, limit: DEFAULT_LIMITS.API },
]
const heap = (): number => {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

const limiter = new MemoryLimiter(now, ADDRESSES)
const perAddress = new MinuteCounters(now, ADDRESSES)
const before = heap()
const began = process.cpuUsage()
for (let i = 0; i < ADDRESSES; i++) {
  const id = idOf(i)
  perAddress.count(id)
  limiter.take(wishesOf(id))
}
const { user, system } = process.cpuUsage(began)
const used = heap() - before
console.log(
  `in-process: ${(used / 1e6).toFixed(0)} MB for ${ADDRESSES} addresses, ${Math.round(used / ADDRESSES)} bytes each`,
)
console.log(`filling: ${((user + system) / ADDRESSES).toFixed(2)} us of CPU an address, naming it included`)

const sample = Array.from({ length: 100_000 }, (_, i) => wishesOf(idOf(i * 7)))
const judged = process.cpuUsage()
for (const wishes of sample) limiter.take(wishes)
const again = process.cpuUsage(judged)
console.log(`judging among them: ${((again.user + again.system) / sample.length).toFixed(2)} us of CPU for two rules`)
limiter.close()

const server = await testRedis({ after: (done) => void process.once('beforeExit', () => void done()) })
const client = new Redis(server.url, { enableAutoPipelining: true })
const memory = async (): Promise<number> => Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1])
const shared = new RedisLimiter(client)
await shared.take(wishesOf('first'))
const empty = await memory()
for (let i = 0; i < IN_REDIS; i += 500)
  await Promise.all(Array.from({ length: 500 }, (_, k) => shared.take(wishesOf(idOf(i + k)))))
const bytes = ((await memory()) - empty) / IN_REDIS
console.log(`Redis: ${Math.round(bytes)} bytes an address (of ${IN_REDIS})`)
client.disconnect()
await server.kill()
