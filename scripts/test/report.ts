import { relative, sep } from 'node:path'
import { Transform } from 'node:stream'

export type Counts = { tests: number; passed: number; failed: number; cancelled: number; skipped: number; todo: number }
export type Skip = { name: string; why: string }
/** One pass over some files. */
export type Outcome = { counts: Counts; skips: Skip[] }

export const nothing: Outcome = {
  counts: { tests: 0, passed: 0, failed: 0, cancelled: 0, skipped: 0, todo: 0 },
  skips: [],
}

export function merge(outcomes: Outcome[]): Outcome {
  const counts = { ...nothing.counts }
  for (const outcome of outcomes)
    for (const key of Object.keys(counts) as (keyof Counts)[]) counts[key] += outcome.counts[key]
  return { counts, skips: outcomes.flatMap((o) => o.skips) }
}

/** The runner's events, as far as they are used here. */
type Event = { type: string; data: Record<string, unknown> }
type Covered = { path: string; coveredLineCount: number; totalLineCount: number; coveredBranchCount: number; totalBranchCount: number } // prettier-ignore

const CLOSING = /^(tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) \d/

/**
 * Reads the events of a run into `outcome`, and hands on to the reporter all but each pass's own closing lines and the
 * coverage of every single file: both are told once, at the end.
 */
export function listen(outcome: Outcome, covered: Covered[]): Transform {
  return new Transform({
    objectMode: true,
    transform(event: Event, _encoding, done) {
      const { type, data } = event
      if (type === 'test:summary' && data.file === undefined) outcome.counts = pick(data.counts as Counts)
      if (type === 'test:coverage') covered.push(...(data.summary as { files: Covered[] }).files)
      if ((type === 'test:pass' || type === 'test:fail') && (data.skip ?? data.todo) !== undefined)
        outcome.skips.push({ name: String(data.name), why: String(data.skip ?? data.todo) })
      const told = type === 'test:coverage' || (type === 'test:diagnostic' && CLOSING.test(String(data.message)))
      if (told) done()
      else done(null, event)
    },
  })
}

const pick = ({ tests, passed, failed, cancelled, skipped, todo }: Counts): Counts => ({ tests, passed, failed, cancelled, skipped, todo }) // prettier-ignore

/** Lines and branches that tests have run, for each app and package and together. */
export function coverageLines(covered: Covered[], root: string): string[] {
  const areas = new Map<string, Covered[]>()
  for (const file of covered) {
    const area = relative(root, file.path).split(sep).slice(0, 2).join('/')
    areas.set(area, [...(areas.get(area) ?? []), file])
  }
  const sum = (files: Covered[], key: Exclude<keyof Covered, 'path'>) => files.reduce((n, file) => n + file[key], 0)
  const share = (part: number, whole: number) => (whole ? `${((100 * part) / whole).toFixed(1)} %` : '-').padStart(8)
  const row = (name: string, files: Covered[]) =>
    `${name.padEnd(26)}${share(sum(files, 'coveredLineCount'), sum(files, 'totalLineCount'))}` +
    share(sum(files, 'coveredBranchCount'), sum(files, 'totalBranchCount'))
  const rows = [...areas].toSorted(([a], [b]) => a.localeCompare(b)).map(([name, files]) => row(name, files))
  return [`${'coverage'.padEnd(26)}   lines  branches`, ...rows, row('together', covered)]
}

/** The closing lines: what was skipped and why, the runner's own form, and one plain line at the very end. */
export function closingLines({ counts, skips }: Outcome, milliseconds: number): string[] {
  const { tests, passed, failed, cancelled, skipped, todo } = counts
  return [
    ...skips.map(({ name, why }) => `skipped: ${name} (${why || 'no reason given'})`),
    ...Object.entries({ tests, pass: passed, fail: failed, cancelled, skipped, todo }).map(([k, n]) => `ℹ ${k} ${n}`),
    `ℹ duration_ms ${Math.round(milliseconds)}`,
    `${passed} passed, ${failed + cancelled} failed, ${skipped + todo} skipped`,
  ]
}

/** Why the run as a whole is no success; undefined when it is one. In CI a skipped test counts as one that failed. */
export function verdict({ counts }: Outcome, ci: boolean): string | undefined {
  if (counts.tests === 0) return 'no test ran'
  if (counts.failed + counts.cancelled > 0) return 'tests failed'
  if (ci && counts.skipped + counts.todo > 0) return 'with CI=true a skipped test is a failure'
  return undefined
}
