import type { KernelOp, KernelPeer, KernelResult } from '@prime-vpn/node-protocol'

/** WireGuard's peer table in a few lines: counters begin at zero when a peer is added. */
export class ToyKernel {
  readonly peers = new Map<string, KernelPeer>()
  interfaceId = 'first'
  /** Every write fails while this is set. */
  broken = false

  carry(publicKey: string, rx: bigint, tx: bigint, handshakeAt = Math.floor(Date.now() / 1000)): void {
    const peer = this.peers.get(publicKey)
    if (!peer) throw new Error('the kernel holds no such peer')
    this.peers.set(publicKey, { ...peer, rx: peer.rx + rx, tx: peer.tx + tx, handshake_at: handshakeAt })
  }

  /** The interface is made anew, as after a reboot. */
  recreate(): void {
    this.peers.clear()
    this.interfaceId += '+'
  }

  write(op: KernelOp): KernelResult {
    if (this.broken) return { ok: false, error: 'no room' }
    const key = op.op === 'set' || op.op === 'reset' ? op.peer.public_key : op.public_key
    const before = this.peers.get(key) ?? null
    if (op.op === 'remove' || op.op === 'purge') this.peers.delete(key)
    else {
      const counted = op.op === 'set' && !op.fresh && before ? before : { rx: 0n, tx: 0n, handshake_at: 0 }
      this.peers.set(key, { ...counted, ...op.peer })
    }
    return { ok: true, last: before }
  }
}
