import assert from 'node:assert/strict'
import { test } from 'node:test'
import { defer } from './index.ts'

test('what was registered last is undone first', async () => {
  const ends: (() => Promise<void> | void)[] = []
  const scope = { after: (done: () => Promise<void> | void) => void ends.push(done) }
  const order: number[] = []
  for (const n of [1, 2, 3]) defer(scope, () => void order.push(n))
  for (const end of ends) await end()
  assert.deepEqual(order, [3, 2, 1])
})
