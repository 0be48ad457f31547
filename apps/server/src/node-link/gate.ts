import { Unavailable } from '../platform/errors.ts'

/** Whom an opening counts for. */
export type Caller = {
  /** The address, or the /64 that an IPv6 host may choose from, in its one spelling. */
  address: string
  /** The /48 of an IPv6 address, of which one customer of a hoster may hold every /64; null for IPv4. */
  network: string | null
  /** Nodes of ours were linked from there a short while ago. */
  ours: boolean
}

/** How many may be inside at once. */
export type Bounds = {
  inAll: number
  /** Of addresses that are not our nodes': what is left of `inAll` is kept for those. */
  strangers: number
  perAddress: number
  /** Strangers of one IPv6 /48. */
  perNetwork: number
}

/** A node has proved itself by then. Who has not makes room for the next when there is none. */
const PROVES_WITHIN_MS = 1_000

type Inside = { caller: Caller; since: number; putOut: () => void }

/**
 * Bounds the sockets that have not proved who they are. Where it is full the oldest goes: who wants to keep nodes out must
 * open sockets faster than the flood ban allows, not merely hold them.
 */
export class Gate {
  readonly #bounds: Bounds
  readonly #now: () => number
  /** Oldest first. */
  readonly #inside = new Set<Inside>()

  /** @param now monotonic milliseconds */
  constructor(bounds: Bounds, now: () => number = () => performance.now()) {
    this.#bounds = bounds
    this.#now = now
  }

  /**
   * Lets one more in.
   * @param putOut ends its socket, when it has to make room
   * @returns to be called once it has proved itself or gone; calling it again does nothing
   * @throws {Unavailable}
   */
  enter(caller: Caller, putOut: () => void): () => void {
    const { inAll, strangers, perAddress, perNetwork } = this.#bounds
    this.#makeRoom(perAddress, ({ address }) => address === caller.address)
    if (!caller.ours) {
      // A neighbour at the same hoster must not keep out a node of ours: those are bounded by address alone.
      if (caller.network !== null)
        this.#makeRoom(perNetwork, ({ network, ours }) => !ours && network === caller.network)
      this.#makeRoom(strangers, ({ ours }) => !ours)
    }
    this.#makeRoom(inAll, () => true)
    const own = { caller, since: this.#now(), putOut }
    this.#inside.add(own)
    return () => void this.#inside.delete(own)
  }

  #makeRoom(max: number, counts: (caller: Caller) => boolean): void {
    let oldest: Inside | undefined
    let n = 0
    for (const one of this.#inside) {
      if (!counts(one.caller)) continue
      oldest ??= one
      n++
    }
    if (!oldest || n < max) return
    if (this.#now() - oldest.since < PROVES_WITHIN_MS) throw new Unavailable('Too many links are being opened.')
    this.#inside.delete(oldest)
    oldest.putOut()
  }
}
