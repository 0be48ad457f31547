import type { Driver } from '@prime-vpn/wireguard'

/** A driver that remembers whose peers the interface holds, so that adding one needs no reading of ten thousand. */
export type KnowingDriver = Pick<Driver, 'apply' | 'dump' | 'exists'> & {
  /** False: surely no peer has this key. True: one has, or it is not known. */
  mayHold: (publicKey: string) => boolean
}

/** Watches the writes and readings that pass through. After a failed write nothing is known until the next reading. */
export function knowing(driver: Pick<Driver, 'apply' | 'dump' | 'exists'>): KnowingDriver {
  let held: Set<string> | null = null
  return {
    exists: () => driver.exists(),
    mayHold: (publicKey) => held?.has(publicKey) ?? true,
    apply: async (ops) => {
      const before = held
      held = null
      await driver.apply(ops)
      for (const op of ops) {
        if (op.op === 'set') before?.add(op.peer.publicKey)
        if (op.op === 'remove') before?.delete(op.publicKey)
      }
      held = before
    },
    dump: async () => {
      const state = await driver.dump()
      held = new Set(state.peers.map(({ publicKey }) => publicKey))
      return state
    },
  }
}
