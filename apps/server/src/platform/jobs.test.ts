import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { NotFound } from './errors.ts'
import { enqueue, JobFailure, startJobs } from './jobs.ts'
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

class ServiceError extends Error {
  override readonly name = 'ServiceError'
  readonly code = 'no_such_customer'
}

test('of what a job throws the queue and the log keep kind, code and place, and no text that is not ours', async (t) => {
  const { sql, owner, url } = await freshDatabase(t)
  let log = ''
  let ran = 0
  const failing = (error: () => Error) => async () => {
    ran++
    throw error()
  }
  const theirs = () => new ServiceError('no ada@example.com\n    at ada@example.com (ada.ts:1:1)')
  const mutated = () => {
    const error = theirs()
    void error.stack
    return Object.assign(error, { message: 'other text of ada' })
  }
  const work = { theirs: failing(theirs), mutated: failing(mutated), ours: failing(() => new NotFound('The order')) }
  const jobs = await startJobs(url, undefined, work, [], createLog('debug', { write: (line) => void (log += line) }))
  for (const name of Object.keys(work)) await enqueue(sql, name, {})
  await until(() => ran === 3)
  await jobs.stop()
  const kept = await owner<{ task: string; last_error: string }[]>`
    select t.identifier as task, last_error from graphile_worker._private_jobs j
      join graphile_worker._private_tasks t on t.id = j.task_id order by 1`
  assert.deepEqual(
    [...kept],
    [
      { task: 'mutated', last_error: 'ServiceError no_such_customer' },
      { task: 'ours', last_error: 'AppError: The order was not found.' },
      { task: 'theirs', last_error: 'ServiceError no_such_customer' },
    ],
  )
  assert.doesNotMatch(log, /ada/)
  assert.match(log, /jobs\.test\.ts:\d+/, 'it tells the place')
})

test('a job that failed for good is over, and one that was tried as often as may be goes after a week', async (t) => {
  const { sql, owner, url } = await freshDatabase(t)
  let tries = 0
  const lost = async () => {
    tries++
    throw new JobFailure('nobody is there', { final: true })
  }
  for (const [n, days, attempts] of [
    [1, 8, 25],
    [2, 6, 25],
    [3, 8, 24],
  ] as const) {
    await enqueue(sql, 'later', { n })
    await owner`update graphile_worker._private_jobs set attempts = ${attempts}, run_at = now() + interval '1 day',
                       updated_at = now() - make_interval(days => ${days}) where key is null and attempts = 0`
  }
  await enqueue(sql, 'lost', {})
  await enqueue(sql, 'platform.sweep-jobs', {})
  const jobs = await startJobs(url, undefined, { lost, later: async () => undefined }, [], createLog('silent'))
  const waiting = async () => {
    const left = await owner<{ n: number | null }[]>`
      select (payload->>'n')::int as n from graphile_worker._private_jobs order by 1`
    return left.map(({ n }) => n)
  }
  let left = await waiting()
  for (let i = 0; i < 500 && left.length > 2; i++, left = await waiting()) await sleep(10)
  await jobs.stop()
  assert.deepEqual([tries, left], [1, [2, 3]])
})
