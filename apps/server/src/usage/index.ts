/** Counters, live metrics, daily sums, analytics. */
export { createUsage, type Usage, type UsageDeps } from './usage.ts'
export type { LiveKey, LiveSample } from './live.ts'
export { usageRoutes, type UsageRoutesDeps } from './routes.ts'
export { RETENTION_DAYS, usageJobs, usageSchedule } from './daily.ts'
