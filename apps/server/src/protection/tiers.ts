const MAX_KNOWN = 100_000

export type TierOf = (userId: string) => 'free' | 'premium'

/**
 * Which users pay, as their own answered requests told: from memory, since limits are judged before any look-up.
 * Who is not known counts as free.
 */
export class Tiers {
  readonly #premium = new Set<string>()

  learn(userId: string, tier: 'free' | 'premium'): void {
    if (tier === 'free') {
      this.#premium.delete(userId)
      return
    }
    if (this.#premium.has(userId)) return
    if (this.#premium.size >= MAX_KNOWN) {
      const oldest = this.#premium.values().next()
      if (!oldest.done) this.#premium.delete(oldest.value)
    }
    this.#premium.add(userId)
  }

  of: TierOf = (userId) => (this.#premium.has(userId) ? 'premium' : 'free')
}
