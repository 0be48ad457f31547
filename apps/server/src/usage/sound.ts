import type { Counters } from '@prime-vpn/node-protocol'

/** More than any tunnel carries: an exbibyte. */
const MOST_BYTES = 1n << 60n
/** A node's clock may be off by so much; a handshake further in the future is none. */
const SKEW_S = 86_400

/** Counters as a node may tell them, or null when no tunnel can have such. Nothing a node says is taken unbounded. */
export function sound(counters: Counters, nowMs: number): { rx: bigint; tx: bigint; handshakeAt: number } | null {
  const rx = BigInt(counters.rx)
  const tx = BigInt(counters.tx)
  if (rx > MOST_BYTES || tx > MOST_BYTES || !Number.isSafeInteger(counters.version)) return null
  const handshakeAt = counters.handshake_at > nowMs / 1000 + SKEW_S ? 0 : counters.handshake_at
  return { rx, tx, handshakeAt }
}
