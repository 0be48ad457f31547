/** The layer in front of HTTP: bans, limits, countries, throttling. Knows no room. */
export { adminProtectionRoutes } from './admin/routes.ts'
export { readProtectionConfig, type ProtectionConfig, type ReadConfig } from './config.ts'
export { openCountryDatabase } from './country-database.ts'
export type { CountryOf } from './geo.ts'
export type { Identify, Identity } from './identity.ts'
export { createProtection, type Protection, type ProtectionDeps } from './protection.ts'
