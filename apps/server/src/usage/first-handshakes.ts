/** Which peers of the nodes linked here have shaken hands: one number for each slot that told of a handshake. */
export class FirstHandshakes {
  readonly #versions = new Map<string, Map<number, number>>()

  /** @returns true the first time that this peer, a slot's version, is said to have shaken hands */
  note(serverId: string, slot: number, version: number): boolean {
    let versions = this.#versions.get(serverId)
    if (!versions) this.#versions.set(serverId, (versions = new Map()))
    if (versions.get(slot) === version) return false
    versions.set(slot, version)
    return true
  }

  forget(serverId: string, slot: number): void {
    this.#versions.get(serverId)?.delete(slot)
  }
}
