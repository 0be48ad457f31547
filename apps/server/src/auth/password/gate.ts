import { availableParallelism } from 'node:os'
import { Unavailable } from '../../platform/errors.ts'

/** Callers that may wait for each one that runs: about two seconds at 75 ms a hash. */
const WAITING_PER_SLOT = 24

/**
 * Lets a bounded number of hashes run at once. Each fills a thread of Node's pool for some 75 ms, and four in flight
 * starve DNS and files; so one core stays free, a short queue waits, and the rest hear 'busy' at once.
 */
export class HashGate {
  readonly #slots: number
  readonly #maxWaiting: number
  #running = 0
  readonly #waiting: (() => void)[] = []

  constructor(slots = Math.max(1, availableParallelism() - 1), maxWaiting = slots * WAITING_PER_SLOT) {
    this.#slots = slots
    this.#maxWaiting = maxWaiting
  }

  /** @throws {Unavailable} the queue is full */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#slots) this.#running++
    else await this.#wait()
    try {
      return await work()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#running--
    }
  }

  /** The slot of the one who ends passes straight to the first who waits. */
  #wait(): Promise<void> {
    if (this.#waiting.length >= this.#maxWaiting)
      throw new Unavailable('Too many people sign in at the moment. Try again in a few seconds.')
    return new Promise((resolve) => this.#waiting.push(resolve))
  }
}
