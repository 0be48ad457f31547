import type { Acknowledged, Counters, LinkState } from '@prime-vpn/node-protocol'

/** Does the node's kernel hold the peer of this version (`live`), or nobody since this version (`gone`)? */
export interface Question {
  slot: number
  version: number
  want: 'live' | 'gone'
}

/** What the node's kernel holds for a slot, as far as somebody asked. */
export interface Verdict {
  /** A peer of at least the version asked about. */
  held: boolean
  /** The node could not do it. */
  failed: boolean
  /** The last counters of the peer that was removed, where the node told them. */
  final: Counters | null
}

/** What one link has heard of its slots. */
export class SlotBook {
  readonly #acknowledged = new Map<number, Acknowledged & { final: Counters | null }>()
  readonly #failed = new Map<number, number>()

  acknowledged(slots: readonly Acknowledged[], finals: ReadonlyMap<number, Counters>): void {
    for (const told of slots) {
      const known = this.#acknowledged.get(told.slot)
      if (known && known.version > told.version) continue
      const final = finals.get(told.slot) ?? (known?.version === told.version ? known.final : null)
      this.#acknowledged.set(told.slot, { ...told, final })
      if ((this.#failed.get(told.slot) ?? Infinity) <= told.version) this.#failed.delete(told.slot)
    }
  }

  failed(slots: readonly { slot: number; version: number }[]): void {
    for (const { slot, version } of slots) this.#failed.set(slot, version)
  }

  /**
   * @param link the reducer's state: what was told on this link and what of it is outstanding
   * @param quiet true once everything that was committed before the question has been read and told, and everything the
   *   node said has been taken
   * @returns undefined while it is open
   */
  verdict({ slot, version, want }: Question, link: LinkState, quiet: boolean): Verdict | undefined {
    const known = this.#acknowledged.get(slot)
    if (known && known.version >= version) return { held: known.held, failed: false, final: known.final }
    if (this.#failed.get(slot) === version) return { held: false, failed: true, final: null }
    if (!quiet) return undefined
    const told = link.versions.get(slot)
    // It lies below the revision the node resumed from: confirmed on an earlier link, peer or nobody as asked.
    if (told === undefined) return { held: want === 'live', failed: false, final: null }
    if (told < version || link.outstanding.has(slot)) return undefined
    // Confirmed by the node's revision alone: so it does with a slot that was empty for it and stays so.
    return { held: want === 'live' && told === version, failed: false, final: null }
  }
}
