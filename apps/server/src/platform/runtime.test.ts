import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runtimeWarning } from './runtime.ts'

test('Node below the security release of November 2026 is named at the start', () => {
  for (const version of ['v24.21.0', 'v24.22.2']) assert.match(runtimeWarning(version) ?? '', /install 24\.22\.3/)
  for (const version of ['v24.22.3', 'v24.23.0', 'v26.0.0', 'unknown']) assert.equal(runtimeWarning(version), null)
})
