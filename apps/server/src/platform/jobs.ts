import { Logger, parseCronItems, run, type Runner, type Task, type TaskList } from 'graphile-worker'
import pg from 'pg'
import type { Db } from './db/index.ts'
import { failureOf, JobFailure } from './job-failure.ts'
import type { Log } from './log.ts'

export { JobFailure }

/**
 * A room's background work: each must be safe to run twice. What it throws has it tried again, but for a `JobFailure` that
 * is final; of the error only its kind and words of ours are kept.
 */
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

/** No job of ours runs this long: one that does is taken to have died with its process, and may run again. */
const DEAD_AFTER_MINUTES = 10
const LOOK_FOR_DEAD_MS = 60_000

/**
 * Frees what a killed process had begun; the queue itself would wait four hours. Every job is safe to run twice.
 * @param minutes how long a job may have been running; 0 frees all, when no other instance can be there
 */
async function freeDead(pool: pg.Pool, minutes: number): Promise<void> {
  await pool.query(
    `select graphile_worker.force_unlock_workers(workers) from (
       select array_agg(distinct locked_by) as workers from graphile_worker._private_jobs
        where locked_at < clock_timestamp() - make_interval(mins => $1)) dead
      where workers is not null`,
    [minutes],
  )
}

/** A job that was tried as often as it may be stays for so long, for whoever looks for the fault. */
const USED_UP_DAYS = 7
const SWEEP_JOB = 'platform.sweep-jobs'
const SWEEP: Schedule = { cron: '41 2 * * *', job: SWEEP_JOB }

const sweepUsedUp = (pool: pg.Pool) =>
  pool.query(
    `delete from graphile_worker._private_jobs
      where attempts >= max_attempts and locked_at is null
        and updated_at < clock_timestamp() - make_interval(days => $1)`,
    [USED_UP_DAYS],
  )

/** The queue stores and logs what a task throws: no foreign text comes that far. */
const guarded =
  (name: string, work: Jobs[string], log: Log): Task =>
  async (payload) => {
    try {
      await work(payload)
    } catch (error) {
      const failure = failureOf(error)
      if (!(error instanceof JobFailure && error.final)) throw failure
      log.warn({ job: name, reason: failure.message }, 'a job failed for good')
    }
  }

/**
 * Runs the jobs of all rooms until `stop`, which waits for those that run.
 * @param alone no other instance can be using this database: what is still marked as running died with its process
 */
export async function startJobs(
  url: string,
  role: string | undefined,
  jobs: Jobs,
  schedule: Schedule[],
  log: Log,
  alone = false,
): Promise<{ stop(): Promise<void> }> {
  const pool = new pg.Pool({
    connectionString: url,
    max: CONNECTIONS,
    ...(role ? { options: `-c role=${role}` } : {}),
  })
  pool.on('error', (err) => log.warn({ err }, 'job pool'))
  pool.on('connect', (client) => client.on('error', () => undefined))
  await freeDead(pool, alone ? 0 : DEAD_AFTER_MINUTES)
  const looking = setInterval(() => {
    freeDead(pool, DEAD_AFTER_MINUTES).catch((err: unknown) => log.warn({ err }, 'dead jobs could not be looked for'))
  }, LOOK_FOR_DEAD_MS)
  looking.unref()
  const taskList: TaskList = {}
  const all: Jobs = { ...jobs, [SWEEP_JOB]: async () => void (await sweepUsedUp(pool)) }
  for (const [name, work] of Object.entries(all)) taskList[name] = guarded(name, work, log)
  const due = [...schedule, SWEEP]
  const runner: Runner = await run({
    pgPool: pool,
    taskList,
    parsedCronItems: parseCronItems(due.map(({ cron, job }) => ({ task: job, match: cron, identifier: job }))),
    logger: quiet(log),
    concurrency: CONCURRENCY,
    noHandleSignals: true,
    pollInterval: 2_000,
  })
  runner.promise.catch((err: unknown) => log.error({ err }, 'the job runner stopped'))
  return {
    async stop() {
      clearInterval(looking)
      await runner.stop()
      await pool.end()
    },
  }
}
