import assert from 'node:assert/strict'
import { test } from 'node:test'
import { batched } from './batch.ts'

test('the reads of one turn are one call, each gets its own row, and a row that is not there is undefined', async () => {
  const calls: number[][] = []
  const read = batched(async (keys: number[]) => {
    calls.push(keys)
    return keys.map((key) => (key === 2 ? undefined : `row ${key}`))
  })
  assert.deepEqual(await Promise.all([read(1), read(2), read(1)]), ['row 1', undefined, 'row 1'])
  assert.equal(await read(3), 'row 3')
  assert.deepEqual(calls, [[1, 2, 1], [3]])
})

test('more than a hundred reads are several calls', async () => {
  const sizes: number[] = []
  const read = batched(async (keys: number[]) => {
    sizes.push(keys.length)
    return keys
  })
  const all = Array.from({ length: 250 }, (_, i) => i)
  assert.deepEqual(await Promise.all(all.map(read)), all)
  assert.deepEqual(sizes, [100, 100, 50])
})

test('a call that fails fails the reads that shared it and no later one', async () => {
  let fails = true
  const read = batched(async (keys: number[]) => {
    if (fails) throw new Error('the database is away')
    return keys
  })
  const [a, b] = await Promise.allSettled([read(1), read(2)])
  assert.equal(a.status, 'rejected')
  assert.equal(b.status, 'rejected')
  fails = false
  assert.equal(await read(1), 1)
})
