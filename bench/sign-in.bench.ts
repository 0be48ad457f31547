/**
 * Sign-ins a second at the chosen argon2id cost with the event loop's delay meanwhile, and `GET /users/me` against a
 * hello of the same framework in the same process, interleaved. The clients run in a worker of their own.
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
import { startServer } from '../apps/server/src/main.ts'

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

async function main(): Promise<void> {
  const seconds = Number(process.argv[2] ?? 3)
  const rounds = Number(process.argv[3] ?? 5)
  const folder = await mkdtemp(join(tmpdir(), 'prime-bench-'))
  const worker = new Worker(new URL(import.meta.url))
  const run = async (wish: Omit<Load, 'ms'>): Promise<Outcome> => {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port takes none
    worker.postMessage({ ...wish, ms: seconds * 1_000 })
    return ((await once(worker, 'message')) as [Outcome])[0]
  }
  const server = await startServer({
    DATA_DIR: join(folder, 'data'),
    PORT: '8765',
    RATE_LIMIT_ENABLED: 'false',
    DDOS_PROTECTION_ENABLED: 'false',
    LOG_LEVEL: 'error',
  })
  const bare = fastify()
  bare.get('/hello', async () => ({ hello: 'world' }))
  const hello = await bare.listen({ port: 0, host: '127.0.0.1' })
  try {
    const api = `${server.url}/api/v1`
    const credentials = JSON.stringify({ email: 'bench@example.com', password: 'a long enough phrase' })
    const post = (path: string) =>
      fetch(`${api}${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: credentials })
    await post('/auth/register')
    const { access_token: token } = (await (await post('/auth/login')).json()) as { access_token: string }

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
    const ratios: number[] = []
    for (let round = 0; round < rounds; round++) {
      const a = await run({ url: `${hello}/hello`, body: null, token, clients: 16 })
      const b = await run({ url: `${api}/users/me`, body: null, token, clients: 16 })
      ratios.push(b.ok / a.ok)
      console.log(
        `hello ${(a.ok / seconds).toFixed(0)}/s  /users/me ${(b.ok / seconds).toFixed(0)}/s  ratio ${(b.ok / a.ok).toFixed(2)}`,
      )
    }
    ratios.sort((x, y) => x - y)
    console.log(`median ratio ${(ratios[Math.floor(rounds / 2)] ?? 0).toFixed(2)}`)
  } finally {
    await worker.terminate()
    await bare.close()
    await server.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

function answer(outcome: Outcome): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port takes none
  parentPort?.postMessage(outcome)
}

if (isMainThread) await main()
else parentPort?.on('message', (wish: Load) => void load(wish).then(answer))
