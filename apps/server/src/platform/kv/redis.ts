import { Redis, type RedisOptions } from 'ioredis'
import type { Log } from '../log.ts'
import { KvUnavailable, type Kv } from './kv.ts'

/** Fail fast: with ioredis's defaults every call hangs while the server is gone, and unanswered ones are sent twice. */
const options = {
  enableAutoPipelining: true,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  commandTimeout: 200,
  connectTimeout: 2_000,
  autoResendUnfulfilledCommands: false,
  retryStrategy: (times: number) => Math.min(50 * times, 500),
} satisfies RedisOptions

async function failFast<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw new KvUnavailable(error)
  }
}

/**
 * The store in Redis or Valkey. Starts also while the server is away and recovers by itself.
 * @param prefix set before every key and channel, so that installations can share a server
 */
export async function redisKv(url: string, log: Log, prefix = 'prime:'): Promise<Kv & { client: Redis }> {
  const client = new Redis(url, { ...options, lazyConnect: true })
  const subscriber = new Redis(url, {
    ...options,
    enableAutoPipelining: false,
    enableOfflineQueue: true,
    maxRetriesPerRequest: null,
    autoResubscribe: true,
    lazyConnect: true,
  })
  const listeners = new Map<string, Set<(message: string) => void>>()

  let reachable = false
  const mark = (now: boolean) => {
    if (now !== reachable) log[now ? 'info' : 'warn']({ redis: now ? 'reachable' : 'lost' }, 'redis changed')
    reachable = now
  }
  client.on('ready', () => mark(true))
  client.on('close', () => mark(false))
  client.on('error', () => mark(false))
  subscriber.on('error', () => undefined)
  subscriber.on('message', (channel: string, message: string) => {
    for (const listener of listeners.get(channel) ?? []) listener(message)
  })
  await Promise.allSettled([client.connect(), subscriber.connect()])

  return {
    client,
    get: (key) => failFast(() => client.get(prefix + key)),
    set: (key, value, ttlMs) => failFast(async () => void (await client.set(prefix + key, value, 'PX', ttlMs))),
    setOnce: (key, value, ttlMs) =>
      failFast(async () => (await client.set(prefix + key, value, 'PX', ttlMs, 'NX')) === 'OK'),
    take: (key) => failFast(() => client.getdel(prefix + key)),
    delete: (key) => failFast(async () => void (await client.del(prefix + key))),
    publish: (channel, message) => failFast(async () => void (await client.publish(prefix + channel, message))),
    async subscribe(channel, listener) {
      const name = prefix + channel
      const set = listeners.get(name) ?? new Set()
      listeners.set(name, set.add(listener))
      // While the server is away the subscription waits in the queue of this connection.
      const subscribed = set.size === 1 ? subscriber.subscribe(name) : Promise.resolve()
      if (reachable) await subscribed.catch(() => undefined)
      else subscribed.catch(() => undefined)
      return () => {
        set.delete(listener)
        if (set.size > 0) return
        listeners.delete(name)
        subscriber.unsubscribe(name).catch(() => undefined)
      }
    },
    healthy: () => reachable,
    async close() {
      client.disconnect()
      subscriber.disconnect()
    },
  }
}
