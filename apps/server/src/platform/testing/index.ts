export { freshDatabase, type FreshDatabase } from './database.ts'
export { noRedis, testRedis, type TestRedis } from './redis.ts'
export { temporaryFolder } from './folder.ts'
export { defer, type Scope } from './defer.ts'
