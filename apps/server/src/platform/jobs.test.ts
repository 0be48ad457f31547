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
