import { networkOf, type Address, type Network } from './address.ts'

const keyOf = ({ family, words }: { family: 4 | 6; words: readonly number[] }): number | string =>
  family === 4 ? (words[3] ?? 0) : words.join('.')

/** The key of the block of `length` bits that holds `address`. */
const keyAt = (length: number, address: Address): number | string =>
  keyOf(length === (address.family === 4 ? 32 : 128) ? address : networkOf(address, length))

type Level<T> = { length: number; blocks: Map<number | string, { network: Network; value: T }> }

/**
 * Values by block of addresses. A look-up costs one `Map.get` for each prefix length that is in use (in practice one to
 * four), whatever the number of blocks.
 */
export class NetworkMap<T> {
  readonly #levels: Record<4 | 6, Level<T>[]> = { 4: [], 6: [] }
  #size = 0

  get size(): number {
    return this.#size
  }

  set(network: Network, value: T): void {
    const levels = this.#levels[network.family]
    let level = levels.find((l) => l.length === network.length)
    if (!level) {
      level = { length: network.length, blocks: new Map() }
      levels.push(level)
      levels.sort((a, b) => b.length - a.length)
    }
    const key = keyOf(network)
    if (!level.blocks.has(key)) this.#size++
    level.blocks.set(key, { network, value })
  }

  delete(network: Network): boolean {
    const levels = this.#levels[network.family]
    const level = levels.find((l) => l.length === network.length)
    if (!level?.blocks.delete(keyOf(network))) return false
    this.#size--
    if (level.blocks.size === 0) levels.splice(levels.indexOf(level), 1)
    return true
  }

  /** The value of the longest block that holds `address`. */
  find(address: Address): T | undefined {
    for (const level of this.#levels[address.family]) {
      const found = level.blocks.get(keyAt(level.length, address))
      if (found) return found.value
    }
    return undefined
  }

  /** Of all blocks that hold `address` the value of the highest rank above 0; of equals that of the longest block. */
  best(address: Address, rank: (value: T) => number): T | undefined {
    let best: T | undefined
    let highest = 0
    for (const level of this.#levels[address.family]) {
      const found = level.blocks.get(keyAt(level.length, address))
      if (!found) continue
      const own = rank(found.value)
      if (own > highest) [best, highest] = [found.value, own]
    }
    return best
  }

  get(network: Network): T | undefined {
    const level = this.#levels[network.family].find((l) => l.length === network.length)
    return level?.blocks.get(keyOf(network))?.value
  }

  *entries(): Generator<{ network: Network; value: T }> {
    for (const family of [4, 6] as const) for (const level of this.#levels[family]) yield* level.blocks.values()
  }
}
