type Mark = { version: number; epoch: number; at: number; rx: bigint; tx: bigint }

/** Two readings closer than this say more of the moment than of the speed. */
const SHORTEST_MS = 500

/**
 * Bytes per second between one report of a slot and the next, both directions together: one mark for each slot that
 * nodes linked here have told of.
 */
export class ReportSpeeds {
  readonly #marks = new Map<string, Map<number, Mark>>()

  /** @returns 0 when there is nothing to compare with */
  note(serverId: string, slot: number, now: Mark): bigint {
    let marks = this.#marks.get(serverId)
    if (!marks) this.#marks.set(serverId, (marks = new Map()))
    const before = marks.get(slot)
    const ms = before ? now.at - before.at : 0
    if (!before || before.version !== now.version || before.epoch !== now.epoch || ms < 0) {
      marks.set(slot, now)
      return 0n
    }
    if (ms < SHORTEST_MS) return 0n
    marks.set(slot, now)
    const bytes = now.rx - before.rx + (now.tx - before.tx)
    return bytes > 0n ? (bytes * 1000n) / BigInt(ms) : 0n
  }

  forget(serverId: string, slot: number): void {
    this.#marks.get(serverId)?.delete(slot)
  }
}
