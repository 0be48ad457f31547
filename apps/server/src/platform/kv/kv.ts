/**
 * Short-lived state that every instance sees: Redis, or its in-process twin when one instance is all there is. What must
 * survive lies in PostgreSQL. Keys and values are text; a value lives `ttlMs` milliseconds at most.
 */
export interface Kv {
  get(key: string): Promise<string | null>
  set(key: string, value: string, ttlMs: number): Promise<void>
  /** Writes only when nobody did before; true for the one who wrote. */
  setOnce(key: string, value: string, ttlMs: number): Promise<boolean>
  /** Reads and deletes in one step: of any number of takers one gets it. */
  take(key: string): Promise<string | null>
  delete(key: string): Promise<void>
  /** Tells every instance, this one included. At most once: what must not be lost is in the database too. */
  publish(channel: string, message: string): Promise<void>
  /** @returns a function that ends the subscription */
  subscribe(channel: string, listener: (message: string) => void): Promise<() => void>
  /** False while the store is out of reach; calls then fail fast with KvUnavailable. */
  healthy(): boolean
  close(): Promise<void>
}

/** The store is out of reach. Callers go on without it, or say 503 where they cannot. */
export class KvUnavailable extends Error {
  constructor(cause?: unknown) {
    super('the key-value store is out of reach', { cause })
    this.name = 'KvUnavailable'
  }
}
