export { KvUnavailable, type Kv } from './kv.ts'
export { memoryKv } from './memory.ts'
export { redisKv } from './redis.ts'
