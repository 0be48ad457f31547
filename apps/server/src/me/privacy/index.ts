import type { Jobs, Schedule } from '../../platform/jobs.ts'
import { ERASE_JOB, eraseJob, sweepErasures, type EraseDeps } from './erase.ts'
import { EXPORT_JOB, exportJob } from './export.ts'
import { sweepExports } from './store.ts'

export { privacyRoutes } from './routes.ts'
export type { EraseDeps } from './erase.ts'

const SWEEP_JOB = 'exports-sweep'
const ERASURES_JOB = 'erasures-sweep'

/** Copies and erasures are made here; each job is safe to run twice. */
export const privacyJobs = (deps: EraseDeps): { jobs: Jobs; schedule: Schedule[] } => ({
  jobs: {
    [EXPORT_JOB]: exportJob(deps),
    [ERASE_JOB]: eraseJob(deps),
    [ERASURES_JOB]: sweepErasures(deps),
    [SWEEP_JOB]: async () => void (await sweepExports(deps.db)),
  },
  schedule: [
    { cron: '*/10 * * * *', job: SWEEP_JOB },
    { cron: '41 * * * *', job: ERASURES_JOB },
  ],
})
