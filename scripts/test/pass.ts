import { availableParallelism } from 'node:os'
import { pipeline } from 'node:stream/promises'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { coverageLines, listen, nothing, type Outcome } from './report.ts'

export type PassOptions = { cwd: string; coverage: boolean; long: boolean; signal: AbortSignal; concurrency?: number }

/** Milliseconds a single file may take. */
const FILE_MS = { short: 180_000, long: 3_600_000 }
/** Tests wait for processes and sockets more than they count, yet a small machine must not time out. */
const workers = Math.min(4, Math.max(2, availableParallelism()))

/** Runs test files, each in its own process, and reports them as they end. */
export async function runPass(files: string[], options: PassOptions): Promise<Outcome> {
  const { cwd, coverage, long, signal, concurrency = workers } = options
  if (!files.length) return nothing
  const outcome: Outcome = structuredClone(nothing)
  const covered: Parameters<typeof coverageLines>[0] = []
  const events = run({
    cwd,
    files,
    concurrency,
    signal,
    timeout: long ? FILE_MS.long : FILE_MS.short,
    coverage,
    coverageIncludeGlobs: ['apps/*/src/**/*.ts', 'packages/*/src/**/*.ts'],
    coverageExcludeGlobs: ['**/*.test.ts', '**/testing/**', 'apps/web/**'],
  })
  await pipeline(events, listen(outcome, covered), new spec(), process.stdout, { end: false })
  if (covered.length) console.log(`\n${coverageLines(covered, cwd).join('\n')}\n`)
  return outcome
}
