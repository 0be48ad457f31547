export * from './pool.ts'
export { migrateUp, migrateDown, migrationStatus } from './migrate.ts'
export { batched } from './batch.ts'
