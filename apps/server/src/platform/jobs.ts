import { run, type Runner, type TaskList } from 'graphile-worker'
import pg from 'pg'
import type { Db } from './db/index.ts'
import type { Log } from './log.ts'

/** A room's background work: each must be safe to run twice. */
export type Jobs = Record<string, (payload: unknown) => Promise<void>>
/** `minute hour day month weekday`, in UTC. */
export type Schedule = { cron: string; job: string }

/**
 * Queues a job in the caller's transaction: it exists exactly if the transaction commits.
 * @param key a job with the same key that has not started yet is replaced instead of doubled
 */
export async function enqueue(db: Db, job: string, payload: Record<string, unknown>, key?: string): Promise<void> {
  await db`select graphile_worker.add_job(${job}, payload := ${db.json(payload as never)}, job_key := ${key ?? null})`
}

const MAX_CONNECTIONS = 3

/** Runs the jobs of all rooms until `stop`, which waits for those that run. */
export async function startJobs(
  url: string,
  role: string | undefined,
  jobs: Jobs,
  schedule: Schedule[],
  log: Log,
): Promise<{ stop(): Promise<void> }> {
  const pool = new pg.Pool({
    connectionString: url,
    max: MAX_CONNECTIONS,
    ...(role ? { options: `-c role=${role}` } : {}),
  })
  pool.on('error', (err) => log.warn({ err }, 'job pool'))
  pool.on('connect', (client) => client.on('error', () => undefined))
  const taskList: TaskList = {}
  for (const [name, work] of Object.entries(jobs)) taskList[name] = (payload) => work(payload)
  const runner: Runner = await run({
    pgPool: pool,
    taskList,
    crontab: schedule.map(({ cron, job }) => `${cron} ${job}`).join('\n'),
    concurrency: 4,
    noHandleSignals: true,
    pollInterval: 2_000,
  })
  runner.promise.catch((err: unknown) => log.error({ err }, 'the job runner stopped'))
  return {
    async stop() {
      await runner.stop()
      await pool.end()
    },
  }
}
