import type { KernelCounters, KernelOp, KernelPeer, KernelResult } from '../agent.ts'
import type { Peer } from '../messages.ts'
import type { Random } from './random.ts'

/** A peer of the model, with what only the model knows: for which slot and version it was written, and when it last shook hands. */
export interface ModelPeer extends KernelCounters {
  public_key: string
  preshared_key: string
  allowed_ips: readonly string[]
  slot: number
  version: number
  /** Virtual ms of the last handshake, null = never. */
  shookAt: number | null
}

/** What a write did that the kernel's own rules do not forbid but ours do. */
export type Complaint = (text: string) => void

/** WireGuard's peer table: one peer a key, one peer an address, counters that begin at zero when a peer is added. */
export class KernelModel {
  interfaceId = 'life-1'
  readonly peers = new Map<string, ModelPeer>()
  #lives = 1

  /** The interface is made anew: nothing is left. */
  recreate(): void {
    this.peers.clear()
    this.interfaceId = `life-${++this.#lives}`
  }

  ofSlot(slot: number): ModelPeer | undefined {
    return [...this.peers.values()].find((peer) => peer.slot === slot)
  }

  dump(): KernelPeer[] {
    return [...this.peers.values()].map(({ public_key, preshared_key, allowed_ips, rx, tx, handshake_at }) => ({
      public_key,
      preshared_key,
      allowed_ips: [...allowed_ips],
      rx,
      tx,
      handshake_at,
    }))
  }

  /** Does one operation. With `failure` it fails: not done, or done and the answer lost. */
  write(op: KernelOp, failure: Random | null, complain: Complaint): KernelResult {
    if (failure) {
      if (failure.chance(0.5)) this.#do(op, complain)
      return { ok: false, error: 'injected' }
    }
    return { ok: true, last: this.#do(op, complain) }
  }

  #do(op: KernelOp, complain: Complaint): KernelCounters | null {
    if (op.op === 'remove' || op.op === 'purge') return this.#remove(op.public_key)
    const begins = op.op === 'reset' || op.fresh
    const last = begins ? this.#remove(op.peer.public_key) : null
    this.#set(op.slot, op.version, op.peer, complain)
    return last
  }

  #remove(key: string): KernelCounters | null {
    const peer = this.peers.get(key)
    this.peers.delete(key)
    return peer ? { rx: peer.rx, tx: peer.tx, handshake_at: peer.handshake_at } : null
  }

  #set(slot: number, version: number, peer: Peer, complain: Complaint): void {
    for (const other of this.peers.values()) {
      if (other.public_key === peer.public_key) continue
      const kept = other.allowed_ips.filter((address) => !peer.allowed_ips.includes(address))
      if (kept.length === other.allowed_ips.length) continue
      if (other.slot !== slot) complain(`slot ${slot} takes an address of slot ${other.slot}`)
      other.allowed_ips = kept
    }
    const before = this.peers.get(peer.public_key)
    if (before && before.slot !== slot) complain(`slot ${slot} takes the key of slot ${before.slot}`)
    this.peers.set(peer.public_key, {
      rx: 0n,
      tx: 0n,
      handshake_at: 0,
      shookAt: null,
      ...before,
      ...peer,
      slot,
      version,
    })
  }
}
