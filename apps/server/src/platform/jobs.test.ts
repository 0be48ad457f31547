import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { enqueue, startJobs } from './jobs.ts'
import { createLog } from './log.ts'
import { freshDatabase } from './testing/index.ts'

const until = async (done: () => boolean): Promise<void> => {
  for (let i = 0; i < 500 && !done(); i++) await sleep(10)
}

test('a job exists exactly if its transaction commits, and runs with the rights of run time', async (t) => {
  const { sql, url } = await freshDatabase(t)
  const done: unknown[] = []
  const jobs = await startJobs(
    url,
    undefined,
    { note: async (payload) => void done.push(payload) },
    [],
    createLog('silent'),
  )
  try {
    await sql.begin((tx) => enqueue(tx, 'note', { n: 1 }))
    await sql
      .begin(async (tx) => {
        await enqueue(tx, 'note', { n: 2 })
        throw new Error('rolled back')
      })
      .catch(() => undefined)
    await enqueue(sql, 'note', { n: 3 })
    await until(() => done.length >= 2)
    assert.deepEqual(done, [{ n: 1 }, { n: 3 }])
  } finally {
    await jobs.stop()
  }
})

test('a job that fails stays and is tried again', async (t) => {
  const { sql, url } = await freshDatabase(t)
  let tries = 0
  const jobs = await startJobs(
    url,
    undefined,
    {
      flaky: async () => {
        tries++
        if (tries === 1) throw new Error('not yet')
      },
    },
    [],
    createLog('silent'),
  )
  try {
    await enqueue(sql, 'flaky', {})
    await until(() => tries >= 2)
    assert.equal(tries, 2)
  } finally {
    await jobs.stop()
  }
})

test('a job with a key that still waits is replaced, not doubled', async (t) => {
  const { sql, url } = await freshDatabase(t)
  await enqueue(sql, 'note', { n: 1 }, 'same')
  await enqueue(sql, 'note', { n: 2 }, 'same')
  const done: unknown[] = []
  const jobs = await startJobs(
    url,
    undefined,
    { note: async (payload) => void done.push(payload) },
    [],
    createLog('silent'),
  )
  try {
    await until(() => done.length >= 1)
    await sleep(50)
    assert.deepEqual(done, [{ n: 2 }])
  } finally {
    await jobs.stop()
  }
})

test('a job that a killed process had begun runs again: at once when nobody else can be there, else after ten minutes', async (t) => {
  const { sql, owner, url } = await freshDatabase(t)
  const begunBefore = async (minutes: number, n: number) => {
    await enqueue(sql, 'note', { n })
    await owner`update graphile_worker._private_jobs set locked_by = ${`dead-${n}`}, attempts = 1,
                       locked_at = clock_timestamp() - make_interval(mins => ${minutes}) where locked_by is null`
  }
  await begunBefore(1, 1)
  await begunBefore(11, 2)
  const done: unknown[] = []
  const work = { note: async (payload: unknown) => void done.push(payload) }
  const beside = await startJobs(url, undefined, work, [], createLog('silent'))
  await until(() => done.length >= 1)
  await sleep(100)
  await beside.stop()
  assert.deepEqual(done, [{ n: 2 }])
  const alone = await startJobs(url, undefined, work, [], createLog('silent'), true)
  await until(() => done.length >= 2)
  await alone.stop()
  assert.deepEqual(done, [{ n: 2 }, { n: 1 }])
})
