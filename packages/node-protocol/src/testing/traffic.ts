import type { DatabaseModel } from './database-model.ts'
import type { KernelModel } from './kernel-model.ts'
import type { Random } from './random.ts'

const REKEY_MS = 120_000

/** Customers' bytes: adds to the kernel's counters, and to what the connection truly carried. */
export class Traffic {
  readonly #kernel: KernelModel
  readonly #database: DatabaseModel
  readonly #random: Random
  #stopped = false

  constructor(kernel: KernelModel, database: DatabaseModel, random: Random) {
    this.#kernel = kernel
    this.#database = database
    this.#random = random
  }

  stop(): void {
    this.#stopped = true
  }

  flow(now: number, wallOffset: number): void {
    if (this.#stopped) return
    for (const peer of this.#kernel.peers.values()) {
      // Half of the slots are used now and then only, so that their endpoints are forgotten.
      const rare = peer.slot % 2 === 1
      if (!this.#random.chance(rare ? 0.002 : 0.3)) continue
      const connection = this.#database.connectionOf(peer.slot, peer.version)
      if (peer.shookAt === null || now - peer.shookAt > REKEY_MS) {
        peer.shookAt = now
        peer.handshake_at = Math.floor((1_700_000_000_000 + now + wallOffset) / 1000)
      }
      const rx = BigInt(this.#random.int(1, 2000))
      const tx = BigInt(this.#random.int(1, 2000))
      peer.rx += rx
      peer.tx += tx
      if (!connection) continue
      connection.trueRx += rx
      connection.trueTx += tx
    }
  }
}
