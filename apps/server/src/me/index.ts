/** `/users/me`, composed from accounts, devices and entitlements. */
export { meRoutes } from './routes.ts'
export { readMe, type Me } from './read.ts'
export { privacyJobs } from './privacy/index.ts'
