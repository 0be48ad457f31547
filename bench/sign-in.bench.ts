/**
 * Sign-ins a second at the chosen argon2id cost with the event loop's delay meanwhile, and `GET /users/me` against a
 * hello and a bare `select 1` of the same framework in the same process, interleaved. The clients run in a worker of
 * their own; CPU is that of the server's thread.
 * `node bench/sign-in.bench.ts [seconds] [rounds]`
 */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import fastify from 'fastify'
import { z } from 'zod'
import { startServer } from '../apps/server/src/main.ts'
import type { Sql } from '../apps/server/src/platform/db/index.ts'
import { median, withDurableDatabase } from './durable-database.ts'

type Load = { url: string; body: string | null; token: string; clients: number; ms: number }
type Outcome = { ok: number; refused: number; p50: number; p99: number }

function once200(agent: Agent, { url, body, token }: Load): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${token}`,
      ...(body === null ? {} : { 'content-type': 'application/json' }),
    }
    const req = request(url, { agent, method: body === null ? 'GET' : 'POST', headers }, (res) => {
      res.resume()
      res.on('end', () => resolve(res.statusCode ?? 0))
    })
    req.on('error', reject)
    req.end(body ?? undefined)
  })
}

async function load(wish: Load): Promise<Outcome> {
  const agent = new Agent({ keepAlive: true, maxSockets: wish.clients })
  const until = performance.now() + wish.ms
  const times: number[] = []
  let refused = 0
  const client = async () => {
    while (performance.now() < until) {
      const began = performance.now()
      const status = await once200(agent, wish)
      if (status === 200) times.push(performance.now() - began)
      else refused++
    }
  }
  await Promise.all(Array.from({ length: wish.clients }, client))
  agent.destroy()
  times.sort((a, b) => a - b)
  const at = (share: number): number => times[Math.floor(times.length * share)] ?? 0
  return { ok: times.length, refused, p50: at(0.5), p99: at(0.99) }
}

/** Runs `work`; @returns its outcome, and microseconds of this thread's CPU for each answered request */
async function costOf(work: () => Promise<Outcome>): Promise<Outcome & { cpu: number }> {
  const before = process.threadCpuUsage()
  const outcome = await work()
  const { user, system } = process.threadCpuUsage(before)
  return { ...outcome, cpu: (user + system) / Math.max(1, outcome.ok) }
}

const OTHERS = 50_000
const credentials = JSON.stringify({ email: 'bench@example.com', password: 'a long enough phrase' })
const post = (url: string) =>
  fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: credentials })

/** A customer base and its sessions, so that what reads them all is seen. */
async function manyOthers(owner: Sql): Promise<void> {
  await owner`insert into users (id, email) select gen_random_uuid(), n || '@example.com' from generate_series(1, ${OTHERS}::int) n`
  await owner`insert into sessions (id, user_id, kind, idle_expires_at, expires_at)
              select gen_random_uuid(), id, 'token', now() + interval '1 day', now() + interval '1 day' from users`
  await owner.unsafe('vacuum analyze')
}

type Run = (wish: Omit<Load, 'ms'>) => Promise<Outcome>

async function signIns(api: string, run: Run, seconds: number): Promise<void> {
  for (const clients of [1, 8]) {
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    const { ok, refused, p50, p99 } = await run({ url: `${api}/auth/login`, body: credentials, token: '', clients })
    delay.disable()
    const loop = (delay.percentile(99) / 1e6).toFixed(1)
    console.log(
      `sign-in, ${clients} clients: ${(ok / seconds).toFixed(1)}/s  p50 ${p50.toFixed(0)} ms  p99 ${p99.toFixed(0)} ms  refused ${refused}  loop delay p99 ${loop} ms`,
    )
  }
}

async function signedInReads(api: string, bare: string, token: string, run: Run, rounds: number): Promise<void> {
  const paths = { hello: `${bare}/hello`, select: `${bare}/select`, me: `${api}/users/me` }
  const costs = { hello: [] as number[], select: [] as number[], me: [] as number[] }
  const rates = { hello: [] as number[], select: [] as number[], me: [] as number[] }
  for (let round = 0; round < rounds; round++) {
    for (const name of ['hello', 'select', 'me'] as const) {
      const { ok, refused, cpu } = await costOf(() => run({ url: paths[name], body: null, token, clients: 16 }))
      if (refused > 0) throw new Error(`${name}: ${refused} requests were refused`)
      costs[name].push(cpu)
      rates[name].push(ok)
    }
  }
  for (const name of ['hello', 'select'] as const) {
    const byCpu = median(costs[name].map((cost, i) => cost / (costs.me[i] ?? 0)))
    const byRate = median(rates.me.map((rate, i) => rate / (rates[name][i] ?? 0)))
    console.log(
      `GET /users/me ${median(costs.me).toFixed(0)} us of CPU against ${name} ${median(costs[name]).toFixed(0)} us: ${byCpu.toFixed(2)}; requests a second ${byRate.toFixed(2)}`,
    )
  }
}

async function main(): Promise<void> {
  const seconds = Number(process.argv[2] ?? 3)
  const rounds = Number(process.argv[3] ?? 5)
  const folder = await mkdtemp(join(tmpdir(), 'prime-bench-'))
  const worker = new Worker(new URL(import.meta.url)).setMaxListeners(0)
  const run: Run = async (wish) => {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port takes none
    worker.postMessage({ ...wish, ms: seconds * 1_000 })
    return ((await once(worker, 'message')) as [Outcome])[0]
  }
  await withDurableDatabase(async ({ sql, owner, ownerUrl }) => {
    await manyOthers(owner)
    const server = await startServer({
      DATA_DIR: join(folder, 'data'),
      DATABASE_URL: ownerUrl,
      PORT: '8765',
      RATE_LIMIT_ENABLED: 'false',
      DDOS_PROTECTION_ENABLED: 'false',
      LOG_LEVEL: 'error',
    })
    const bare = fastify()
    const hello = z.toJSONSchema(z.object({ hello: z.string() }), { target: 'draft-7' })
    bare.get('/hello', { schema: { response: { 200: hello } } }, async () => ({ hello: 'world' }))
    bare.get('/select', { schema: { response: { 200: hello } } }, async () => (await sql`select 1::text as hello`)[0])
    const url = await bare.listen({ port: 0, host: '127.0.0.1' })
    try {
      const api = `${server.url}/api/v1`
      await post(`${api}/auth/register`)
      const { access_token: token } = (await (await post(`${api}/auth/login`)).json()) as { access_token: string }
      await signIns(api, run, seconds)
      await signedInReads(api, url, token, run, rounds)
    } finally {
      await bare.close()
      await server.stop()
    }
  }, 10)
  await worker.terminate()
  await rm(folder, { recursive: true, force: true })
}

function answer(outcome: Outcome): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port takes none
  parentPort?.postMessage(outcome)
}

if (isMainThread) await main()
else parentPort?.on('message', (wish: Load) => void load(wish).then(answer))
