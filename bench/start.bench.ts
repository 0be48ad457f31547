/**
 * Start to ready of the control plane on its embedded database: the first start (makes the database and migrates), later
 * starts, and a start after `kill -9`. Baseline in the same round: a bare Node process that listens and answers.
 * Run: node bench/start.bench.ts [rounds]
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePort } from '../apps/server/src/platform/free-port.ts'

const rounds = Number(process.argv[2] ?? 5)
const prime = fileURLToPath(new URL('../apps/cli/bin/prime.js', import.meta.url))
const BARE = `require('node:http').createServer((_, res) => res.end('ok')).listen(Number(process.env.PORT), '127.0.0.1')`

/** Milliseconds from the start of the process to the first good answer. */
async function timed(args: string[], env: Record<string, string>): Promise<{ ms: number; child: ChildProcess }> {
  const port = await freePort()
  const began = performance.now()
  const child = spawn(process.execPath, args, {
    env: { PATH: process.env.PATH, LOG_LEVEL: 'error', ...env, PORT: String(port) },
    stdio: 'ignore',
  })
  for (;;) {
    const ready = await fetch(`http://127.0.0.1:${port}/health/ready`).then(
      (res) => res.ok,
      () => false,
    )
    if (ready) return { ms: performance.now() - began, child }
    if (child.exitCode !== null) throw new Error('it ended before it was ready')
    await sleep(5)
  }
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number> {
  const began = performance.now()
  const gone = once(child, 'exit')
  child.kill(signal)
  await gone
  return performance.now() - began
}

const figures: Record<string, number[]> = {
  'bare node': [],
  'first start': [],
  'second start': [],
  'after kill -9': [],
  'clean stop': [],
}
const note = (name: string, ms: number) => figures[name]?.push(ms)

for (let round = 0; round < rounds; round++) {
  const folder = await mkdtemp(join(tmpdir(), 'prime-start-'))
  const env = { DATA_DIR: join(folder, 'data') }
  try {
    const bare = await timed(['-e', BARE], {})
    note('bare node', bare.ms)
    await end(bare.child, 'SIGKILL')
    const first = await timed([prime, 'serve'], env)
    note('first start', first.ms)
    note('clean stop', await end(first.child, 'SIGTERM'))
    const second = await timed([prime, 'serve'], env)
    note('second start', second.ms)
    await end(second.child, 'SIGKILL')
    const third = await timed([prime, 'serve'], env)
    note('after kill -9', third.ms)
    await end(third.child, 'SIGTERM')
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

console.log(`${rounds} rounds, ms: minimum / median / maximum`)
for (const [name, all] of Object.entries(figures)) {
  const sorted = all.toSorted((a, b) => a - b)
  const shown = [sorted[0], sorted[Math.floor(sorted.length / 2)], sorted.at(-1)].map((ms) => Math.round(ms ?? 0))
  console.log(`${name.padEnd(14)} ${shown.join(' / ')}`)
}
