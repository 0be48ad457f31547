import { Logger, parseCronItems, run, type Runner, type TaskList } from 'graphile-worker'
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
  await db`select graphile_worker.add_job(${job}, payload := ${db.json(payload as never)}::json, job_key := ${key ?? null})`
}

const CONCURRENCY = 4
/** One connection listens beside those that work. */
const CONNECTIONS = CONCURRENCY + 1

/** The queue's own words at debug level, its faults as faults; never a job's payload. */
const quiet = (log: Log) =>
  new Logger(() => (level, message) => (level === 'error' ? log.error(message) : log.debug(message)))

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
    max: CONNECTIONS,
    ...(role ? { options: `-c role=${role}` } : {}),
  })
  pool.on('error', (err) => log.warn({ err }, 'job pool'))
  pool.on('connect', (client) => client.on('error', () => undefined))
  const taskList: TaskList = {}
  for (const [name, work] of Object.entries(jobs)) taskList[name] = (payload) => work(payload)
  const runner: Runner = await run({
    pgPool: pool,
    taskList,
    parsedCronItems: parseCronItems(schedule.map(({ cron, job }) => ({ task: job, match: cron, identifier: job }))),
    logger: quiet(log),
    concurrency: CONCURRENCY,
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
