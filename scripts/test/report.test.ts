import assert from 'node:assert/strict'
import { test } from 'node:test'
import { closingLines, coverageLines, merge, nothing, verdict, type Outcome } from './report.ts'

const outcome = (counts: Partial<Outcome['counts']>): Outcome => ({
  counts: { ...nothing.counts, ...counts },
  skips: [],
})

test('a run in which nothing ran is no success', () => {
  assert.equal(verdict(nothing, false), 'no test ran')
})

test('a failed or cancelled test fails the run', () => {
  assert.equal(verdict(outcome({ tests: 2, passed: 1, failed: 1 }), false), 'tests failed')
  assert.equal(verdict(outcome({ tests: 2, passed: 1, cancelled: 1 }), false), 'tests failed')
})

test('a skipped or postponed test fails the run in CI only', () => {
  for (const counts of [{ skipped: 1 }, { todo: 1 }]) {
    assert.equal(verdict(outcome({ tests: 2, passed: 1, ...counts }), false), undefined)
    assert.match(verdict(outcome({ tests: 2, passed: 1, ...counts }), true) ?? '', /skipped test is a failure/)
  }
})

test('the last line counts both passes together', () => {
  const both = merge([
    outcome({ tests: 3, passed: 2, failed: 1 }),
    {
      counts: { ...nothing.counts, tests: 2, passed: 1, skipped: 1 },
      skips: [{ name: 'over there', why: 'needs root' }],
    },
  ])
  const lines = closingLines(both, 1234.5)
  assert.equal(lines.at(-1), '3 passed, 1 failed, 1 skipped')
  assert.equal(lines[0], 'skipped: over there (needs root)')
  assert.ok(lines.includes('ℹ tests 5'))
})

test('coverage is told for each app and package, and together', () => {
  const counts = { coveredLineCount: 1, totalLineCount: 2, coveredBranchCount: 3, totalBranchCount: 3 }
  const lines = coverageLines(
    [
      { path: '/x/apps/a/src/one.ts', ...counts },
      { path: '/x/packages/b/src/two.ts', ...counts, coveredLineCount: 2 },
    ],
    '/x',
  )
  assert.match(lines[1] ?? '', /^apps\/a +50\.0 % +100\.0 %$/)
  assert.match(lines.at(-1) ?? '', /^together +75\.0 % +100\.0 %$/)
})
