import { fork, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { createApp, type App } from '../apps/server/src/platform/http/index.ts'
import { redisKv } from '../apps/server/src/platform/kv/index.ts'
import { createLog } from '../apps/server/src/platform/log.ts'
import { testRedis } from '../apps/server/src/platform/testing/index.ts'
import { parseNetwork } from '../apps/server/src/protection/address/address.ts'
import type { Limit } from '../apps/server/src/protection/limiter/limiter.ts'
import { DEFAULT_LIMITS } from '../apps/server/src/protection/rules.ts'
import { LimitTable } from '../apps/server/src/protection/wishes.ts'
import { protectedApp, type Kit } from '../apps/server/src/protection/testing/kit.ts'

// What the protection costs: the same server without it, with it in-process, with it in Redis; and a banned caller
// against a bare Node 404. Each variant is a process of its own; wrk loads them in turn, round by round, and each says
// what processor time it used. Requests come from 50,000 addresses through a trusted proxy, which is the dearest case: no
// address is known from its connection. `direct` is one that is. A banned caller comes by itself, as a flood does. Needs wrk and redis-server. Run: node bench/protection.bench.ts [rounds]

const VARIANTS = ['off', 'in-process', 'redis', 'off-direct', 'in-process-direct', 'bare-404', 'banned'] as const
type Variant = (typeof VARIANTS)[number]

const SECONDS = 3
const CONNECTIONS = 32
const ENV = { TRUSTED_PROXIES: '127.0.0.1', GLOBAL_RATE_LIMIT: '100000000', ADAPTIVE_THROTTLING: 'false' }
const DIRECT = { ...ENV, TRUSTED_PROXIES: '', DDOS_THRESHOLD: '1000000' }
/** One address may send what a machine can, more than a configuration takes: the price of a judgement is the same. */
const WIDE: Limit = { limit: 100_000, burst: 0, windowMs: 1_000 }

const path = '/api/v1/public'
const schema = { response: { 200: z.object({ ok: z.boolean() }) } }
const addRoute = (app: App) => app.get(path, { config: { needs: 'public' }, schema }, async () => ({ ok: true }))

type Started = { port: number; kit: Kit | null }

async function start(variant: Variant): Promise<Started> {
  const scope = { after: (done: () => unknown) => void process.once('disconnect', () => void done()) }
  if (variant === 'bare-404') {
    const server = createServer((_req, res) => {
      res.writeHead(404)
      res.end()
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    return { port: (server.address() as AddressInfo).port, kit: null }
  }
  if (variant === 'off' || variant === 'off-direct') {
    const config = { ALLOWED_HOSTS: [], CORS_ORIGINS: [], PUBLIC_URL: undefined }
    const app = await createApp({ config, log: createLog('silent') })
    addRoute(app)
    await app.listen({ host: '127.0.0.1', port: 0 })
    return { port: (app.server.address() as AddressInfo).port, kit: null }
  }
  const kv = variant === 'redis' ? await redisKv((await testRedis(scope)).url, createLog('silent')) : undefined
  const kit = await protectedApp(scope, {
    env: variant === 'banned' ? {} : variant === 'in-process-direct' ? DIRECT : ENV,
    realTime: true,
    routes: addRoute,
    log: createLog('silent'),
    ...(kv ? { kv, redis: kv.client } : {}),
  })
  if (variant === 'in-process-direct')
    kit.protection.state.table = new LimitTable({ ...DEFAULT_LIMITS, API: WIDE, IP: WIDE })
  const caller = parseNetwork('127.0.0.1')
  if (variant === 'banned' && caller)
    kit.protection.state.bans.apply({ network: caller, leftMs: 3_600_000, byStaff: false })
  await kit.app.listen({ host: '127.0.0.1', port: 0 })
  return { port: (kit.app.server.address() as AddressInfo).port, kit }
}

async function serve(variant: Variant): Promise<void> {
  const { port, kit } = await start(variant)
  process.on('message', (question) => {
    if (question === 'cpu') process.send?.(process.cpuUsage())
    if (question === 'overhead') process.send?.(kit?.protection.state.violations.stats().overhead ?? null)
  })
  process.send?.({ port })
}

async function ask<T>(child: ChildProcess, question: string): Promise<T> {
  const answer = once(child, 'message')
  child.send(question)
  return ((await answer) as [T])[0]
}

type Round = { perSecond: number; cpuUs: number; p50: number; p99: number; refused: number }

const number = (text: string, pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0)
/** wrk writes 512.00us, 1.24ms or 1.02s. */
function microseconds(text: string, label: string): number {
  const [, value, unit] = new RegExp(`${label}\\s+([\\d.]+)(us|ms|s)`).exec(text) ?? []
  return Number(value) * (unit === 's' ? 1e6 : unit === 'ms' ? 1e3 : 1)
}

async function round(child: ChildProcess, port: number, script: string | null): Promise<Round> {
  const before = await ask<NodeJS.CpuUsage>(child, 'cpu')
  const url = `http://127.0.0.1:${port}${path}`
  const by = script === null ? [] : ['-s', script]
  const wrk = spawn('wrk', ['-t1', `-c${CONNECTIONS}`, `-d${SECONDS}s`, '--latency', ...by, url])
  let text = ''
  wrk.stdout.on('data', (data) => (text += String(data)))
  await once(wrk, 'close')
  const after = await ask<NodeJS.CpuUsage>(child, 'cpu')
  const requests = number(text, /(\d+) requests in/)
  return {
    perSecond: number(text, /Requests\/sec:\s+([\d.]+)/),
    cpuUs: (after.user + after.system - before.user - before.system) / requests,
    p50: microseconds(text, '50%'),
    p99: microseconds(text, '99%'),
    refused: number(text, /Non-2xx or 3xx responses: (\d+)/) / requests,
  }
}

const median = (list: number[]): number => list.toSorted((a, b) => a - b)[list.length >> 1] ?? 0

const isDirect = (variant: Variant): boolean => variant !== 'off' && variant !== 'in-process' && variant !== 'redis'

function baselineOf(variant: Variant): Variant {
  if (variant === 'bare-404' || variant === 'banned') return 'bare-404'
  return isDirect(variant) ? 'off-direct' : 'off'
}

async function compare(rounds: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'protection-bench-'))
  const script = join(folder, 'addresses.lua')
  writeFileSync(
    script,
    `math.randomseed(os.time())
request = function()
  local n = math.random(0, 49999)
  wrk.headers["X-Forwarded-For"] = "10.1." .. math.floor(n / 250) .. "." .. (n % 250)
  return wrk.format()
end`,
  )
  const scriptOf = (variant: Variant) => (isDirect(variant) ? null : script)
  const children = new Map<Variant, { child: ChildProcess; port: number; rounds: Round[] }>()
  for (const variant of VARIANTS) {
    const child = fork(import.meta.filename, ['serve', variant])
    const [{ port }] = (await once(child, 'message')) as [{ port: number }]
    children.set(variant, { child, port, rounds: [] })
    await round(child, port, scriptOf(variant)) // warm
  }
  for (let i = 0; i < rounds; i++)
    for (const [variant, each] of children) each.rounds.push(await round(each.child, each.port, scriptOf(variant)))

  const of = (variant: Variant, what: keyof Round): number =>
    median(children.get(variant)?.rounds.map((r) => r[what]) ?? [])
  console.table(
    Object.fromEntries(
      VARIANTS.map((variant) => {
        const base = baselineOf(variant)
        return [
          variant,
          {
            'requests/s': Math.round(of(variant, 'perSecond')),
            'of baseline': (of(variant, 'perSecond') / of(base, 'perSecond')).toFixed(2),
            'CPU us': of(variant, 'cpuUs').toFixed(1),
            'CPU added': (of(variant, 'cpuUs') - of(base, 'cpuUs')).toFixed(1),
            'CPU ratio': (of(variant, 'cpuUs') / of(base, 'cpuUs')).toFixed(2),
            'p50 us': of(variant, 'p50'),
            'p99 us': of(variant, 'p99'),
            refused: of(variant, 'refused').toFixed(2),
          },
        ]
      }),
    ),
  )
  for (const [variant, { child }] of children) {
    const overhead = await ask(child, 'overhead')
    if (overhead) console.log(variant, 'overhead of the protection itself:', overhead)
    child.disconnect()
    child.kill()
  }
  rmSync(folder, { recursive: true })
}

if (process.argv[2] === 'serve') await serve(process.argv[3] as Variant)
else await compare(Number(process.argv[2] ?? 5))
