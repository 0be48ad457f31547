import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { merge, nothing, type Outcome } from './report.ts'
import { has } from './tools.ts'

const alone = fileURLToPath(new URL('alone.ts', import.meta.url))

/** Why network tests cannot run here; undefined when they can. */
function obstacle(): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux'
  if (process.getuid?.() !== 0) return 'needs root'
  return ['unshare', 'ip'].every(has) ? undefined : 'needs unshare and ip'
}

const counted = (name: string, kind: 'skipped' | 'failed', why: string): Outcome => ({
  counts: { ...nothing.counts, tests: 1, [kind]: 1 },
  skips: kind === 'skipped' ? [{ name, why }] : [],
})

export type NetworkOptions = { cwd: string; long: boolean; signal: AbortSignal; output?: 'inherit' | 'ignore' }

/** Runs each file in a network namespace of its own, one after the other. */
export async function runNetworkPass(files: string[], options: NetworkOptions): Promise<Outcome> {
  const why = obstacle()
  if (why) return merge(files.map((file) => counted(file, 'skipped', why)))
  const outcomes: Outcome[] = []
  for (const file of files) {
    if (options.signal.aborted) break
    outcomes.push(await runAlone(file, options))
  }
  return merge(outcomes)
}

async function runAlone(file: string, { cwd, long, signal, output = 'inherit' }: NetworkOptions): Promise<Outcome> {
  if (output === 'inherit') console.log(`\n${file} (network namespace of its own)`)
  const args = ['--net', '--', process.execPath, alone, file, long ? 'long' : 'short']
  const { NODE_TEST_CONTEXT: _inner, ...env } = process.env // set while we are under test ourselves; it would mute the run
  const child = spawn('unshare', args, { cwd, env, stdio: ['ignore', output, output, 'pipe'] })
  const stop = () => void child.kill('SIGTERM')
  signal.addEventListener('abort', stop)
  const [said, [code]] = await Promise.all([text(child.stdio[3] as Readable), once(child, 'close')])
  signal.removeEventListener('abort', stop)
  try {
    return JSON.parse(said) as Outcome
  } catch {
    if (output === 'inherit') console.error(`${file} ended with code ${String(code)} before it could report`)
    return counted(file, 'failed', '')
  }
}
