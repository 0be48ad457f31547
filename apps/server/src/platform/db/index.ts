export * from './pool.ts'
export { migrateUp, migrateDown, migrationStatus } from './migrate.ts'
