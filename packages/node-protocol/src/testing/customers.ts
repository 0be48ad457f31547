import type { Peer } from '../messages.ts'
import type { DatabaseModel } from './database-model.ts'
import type { Random } from './random.ts'
import type { Timeline } from './timeline.ts'

/** Connects, disconnects, rotations and moves, as transactions that commit after a while. */
export class Customers {
  watched: readonly number[] = []
  readonly #timeline: Timeline
  readonly #database: DatabaseModel
  readonly #random: Random
  readonly #wake: () => void
  readonly #keys: string[]

  constructor(timeline: Timeline, database: DatabaseModel, random: Random, wake: () => void) {
    this.#timeline = timeline
    this.#database = database
    this.#random = random
    this.#wake = wake
    this.#keys = Array.from({ length: database.rows.length * 2 }, () => random.key())
  }

  /** Something a customer or an operator does now. */
  act(): void {
    const random = this.#random
    const kind = random.int(0, 19)
    if (kind <= 5) this.#connect()
    else if (kind <= 7) this.#disconnect()
    else if (kind === 8) this.#rotate()
    else if (kind === 9) this.#move()
    else if (kind === 10) this.watched = this.#database.rows.map(({ slot }) => slot).filter(() => random.chance(0.2))
    else if (kind === 11 && random.chance(0.05)) this.removeAll()
  }

  /** Everybody leaves, in one transaction. */
  removeAll(): void {
    const held = this.#database.held().filter(({ locked }) => !locked)
    if (held.length > 0)
      this.#transact(
        held.map(({ slot }) => ({ slot, peer: null })),
        0,
      )
  }

  #connect(): void {
    const row = this.#random.pick(this.#database.free())
    const key = this.#random.pick(this.#keys)
    if (!row || !key || !this.#database.keyIsFree(key)) return
    this.#transact([{ slot: row.slot, peer: this.#peer(row.slot, key) }])
  }

  #disconnect(): void {
    const row = this.#random.pick(this.#database.held().filter(({ locked }) => !locked))
    if (row) this.#transact([{ slot: row.slot, peer: null }])
  }

  /** A new PSK for the same key. */
  #rotate(): void {
    const row = this.#random.pick(this.#database.held().filter(({ locked }) => !locked))
    if (row?.peer) this.#transact([{ slot: row.slot, peer: this.#peer(row.slot, row.peer.public_key) }])
  }

  /** A key goes to another slot at once. */
  #move(): void {
    const from = this.#random.pick(this.#database.held().filter(({ locked }) => !locked))
    const to = this.#random.pick(this.#database.free())
    if (!from?.peer || !to) return
    const peer = this.#peer(to.slot, from.peer.public_key)
    this.#transact([
      { slot: from.slot, peer: null },
      { slot: to.slot, peer },
    ])
  }

  #peer(slot: number, publicKey: string): Peer {
    const allowed_ips = [`10.0.${slot}.2/32`, `fd00::${slot.toString(16)}:2/128`]
    return { public_key: publicKey, preshared_key: this.#random.key(), allowed_ips }
  }

  #transact(changes: { slot: number; peer: Peer | null }[], delay = this.#random.pick([0, 5, 50, 1500]) ?? 0): void {
    const commit = this.#database.begin(changes)
    this.#timeline.after(delay, () => {
      commit()
      this.#wake()
    })
  }
}
