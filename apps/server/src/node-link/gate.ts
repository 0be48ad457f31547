import { Unavailable } from '../platform/errors.ts'

/** Whom an opening counts for. */
export type Caller = {
  /** The address, or the /64 that an IPv6 host may choose from, in its one spelling. */
  address: string
}

/** Bounds the sockets that have not proved who they are: in all, and of one address. */
export class Gate {
  readonly #max: number
  readonly #maxPerCaller: number
  readonly #callers = new Map<string, number>()
  #inside = 0

  constructor(max: number, maxPerCaller: number) {
    this.#max = max
    this.#maxPerCaller = maxPerCaller
  }

  /**
   * Lets one more in.
   * @returns to be called once it has proved itself or gone; calling it again does nothing
   * @throws {Unavailable}
   */
  enter({ address: caller }: Caller): () => void {
    const own = this.#callers.get(caller) ?? 0
    if (this.#inside >= this.#max || own >= this.#maxPerCaller)
      throw new Unavailable('Too many links are being opened.')
    this.#inside++
    this.#callers.set(caller, own + 1)
    let left = false
    return () => {
      if (left) return
      left = true
      this.#inside--
      const rest = (this.#callers.get(caller) ?? 1) - 1
      if (rest > 0) this.#callers.set(caller, rest)
      else this.#callers.delete(caller)
    }
  }
}
