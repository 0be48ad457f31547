/** Staff views, composed from the other rooms' faces. */
export { healthStatusRoutes, type HealthStatusDeps } from './health-status.ts'
