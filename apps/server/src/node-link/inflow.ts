/** A leaky bucket over the bytes of one link: a node that sends more than it ever has reason to is read more slowly. */
export class Inflow {
  readonly #bytesPerSecond: number
  readonly #burst: number
  #level = 0
  #at: number

  /** @param now monotonic ms */
  constructor(bytesPerSecond: number, burst: number, now: number) {
    this.#bytesPerSecond = bytesPerSecond
    this.#burst = burst
    this.#at = now
  }

  /** Counts what came. @returns milliseconds to stop reading, 0 = go on */
  take(bytes: number, now: number): number {
    this.#level = Math.max(0, this.#level - ((now - this.#at) / 1000) * this.#bytesPerSecond) + bytes
    this.#at = now
    return this.#level <= this.#burst ? 0 : Math.ceil(((this.#level - this.#burst) / this.#bytesPerSecond) * 1000)
  }
}
