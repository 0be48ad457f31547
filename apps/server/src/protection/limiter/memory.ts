import { Bucket } from './bucket.ts'
import type { Limit, Limiter, Now, Standing, Wish } from './limiter.ts'

type Shelf = { limit: Limit; buckets: Map<string, Bucket>; sweep: IterableIterator<[string, Bucket]> | null }

const SWEEP_EVERY_MS = 1_000
/** A whole pass over a shelf takes about this many ticks. */
const SWEEP_TICKS = 15

/**
 * The in-process twin. Keys expire by a sweep that looks at a part of them each second; above `maxKeys` per rule the
 * caller known longest is forgotten, so that memory is bounded whatever the number of addresses.
 */
export class MemoryLimiter implements Limiter {
  readonly #now: Now
  readonly #maxKeys: number
  readonly #shelves = new Map<string, Shelf>()
  readonly #timer: NodeJS.Timeout

  constructor(now: Now = () => Math.floor(performance.now()), maxKeys = 1_000_000) {
    this.#now = now
    this.#maxKeys = maxKeys
    this.#timer = setInterval(() => this.sweep(), SWEEP_EVERY_MS)
    this.#timer.unref()
  }

  get size(): number {
    let size = 0
    for (const shelf of this.#shelves.values()) size += shelf.buckets.size
    return size
  }

  #shelf(rule: string, limit: Limit): Shelf {
    let shelf = this.#shelves.get(rule)
    if (!shelf) {
      shelf = { limit, buckets: new Map(), sweep: null }
      this.#shelves.set(rule, shelf)
    }
    // The sweep must not forget what a larger window still needs.
    if (limit.windowMs > shelf.limit.windowMs || limit.limit < shelf.limit.limit) shelf.limit = limit
    return shelf
  }

  /** The caller's bucket, taken over from its other name when it has none under this one. */
  #bucket(shelf: Shelf, wish: Wish): Bucket | undefined {
    const found = shelf.buckets.get(wish.id)
    if (found || wish.otherId === undefined) return found
    const other = shelf.buckets.get(wish.otherId)
    if (!other) return undefined
    shelf.buckets.delete(wish.otherId)
    shelf.buckets.set(wish.id, other)
    return other
  }

  #open(shelf: Shelf, id: string): Bucket {
    if (shelf.buckets.size >= this.#maxKeys) {
      const oldest = shelf.buckets.keys().next()
      if (!oldest.done) shelf.buckets.delete(oldest.value)
    }
    const bucket = new Bucket()
    shelf.buckets.set(id, bucket)
    return bucket
  }

  take(wishes: readonly Wish[]): Standing[] {
    const now = this.#now()
    const found: { shelf: Shelf; bucket: Bucket | undefined }[] = []
    let all = true
    for (const wish of wishes) {
      const shelf = this.#shelf(wish.rule, wish.limit)
      const bucket = this.#bucket(shelf, wish)
      bucket?.advance(now, wish.limit.windowMs)
      if (bucket && !bucket.admits(now, wish.limit)) all = false
      found.push({ shelf, bucket })
    }
    return wishes.map((wish, i) => {
      const { shelf, bucket = all ? this.#open(shelf, wish.id) : EMPTY } = found[i] ?? never()
      const admitted = all || bucket.admits(now, wish.limit)
      if (all) bucket.charge(now, wish.limit)
      return { ...bucket.standing(now, wish.limit), admitted }
    })
  }

  peek(wishes: readonly Wish[]): Standing[] {
    const now = this.#now()
    return wishes.map((wish) => {
      const bucket = this.#bucket(this.#shelf(wish.rule, wish.limit), wish) ?? EMPTY
      bucket.advance(now, wish.limit.windowMs)
      return bucket.standing(now, wish.limit)
    })
  }

  refund(wishes: readonly Wish[]): void {
    for (const wish of wishes) this.#bucket(this.#shelf(wish.rule, wish.limit), wish)?.refund(wish.limit)
  }

  reset(wishes: readonly Wish[]): void {
    for (const { rule, id, otherId } of wishes) {
      this.#shelves.get(rule)?.buckets.delete(id)
      if (otherId !== undefined) this.#shelves.get(rule)?.buckets.delete(otherId)
    }
  }

  /** Forgets spent buckets among a part of all; called each second. */
  sweep(): void {
    const now = this.#now()
    for (const shelf of this.#shelves.values()) {
      let left = Math.max(1_000, Math.ceil(shelf.buckets.size / SWEEP_TICKS))
      shelf.sweep ??= shelf.buckets.entries()
      for (; left > 0; left--) {
        const next = shelf.sweep.next()
        if (next.done) {
          shelf.sweep = null
          break
        }
        const [id, bucket] = next.value
        if (bucket.spent(now, shelf.limit)) shelf.buckets.delete(id)
      }
    }
  }

  close(): void {
    clearInterval(this.#timer)
    this.#shelves.clear()
  }
}

const EMPTY = Object.freeze(new Bucket())

function never(): never {
  throw new Error('a wish without its shelf')
}
