export { freshDatabase, type FreshDatabase, type Scope } from './database.ts'
export { noRedis, testRedis, type TestRedis } from './redis.ts'
