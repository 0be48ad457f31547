import { countedAs } from './keys.ts'
import { parseAddress, type Address } from './address/address.ts'
import type { Now } from './limiter/limiter.ts'

const REFRESH_MS = 5_000

type Options = {
  /** Addresses our tunnels come out of: servers and reported exits whose node was linked in the last 10 minutes. */
  addresses: () => Iterable<string>
  /** Loopback and trusted proxies never count as such. */
  isExcluded: (address: Address) => boolean
  now: Now
}

/** Addresses that many customers share because they are our own nodes. */
export class Fleet {
  readonly #options: Options
  #known = new Set<string>()
  #readAt = -Infinity

  constructor(options: Options) {
    this.#options = options
  }

  has(address: Address): boolean {
    const now = this.#options.now()
    if (now - this.#readAt >= REFRESH_MS) {
      this.#readAt = now
      this.#known = new Set()
      for (const text of this.#options.addresses()) {
        const address = parseAddress(text)
        if (address && !this.#options.isExcluded(address)) this.#known.add(countedAs(address))
      }
    }
    return this.#known.size > 0 && this.#known.has(countedAs(address))
  }
}
