/** What the kernel of one node counted for one tunnel, folded from reports that may come twice, late or never. */
export interface CounterAccount {
  /** The newest epoch seen, ms since 1970; 0 = none yet. */
  epoch: number
  /** Bytes of all earlier epochs. */
  baseRx: bigint
  baseTx: bigint
  /** Totals so far, never falling. */
  rx: bigint
  tx: bigint
  /** Seconds since 1970 of the last handshake, 0 = never. */
  handshakeAt: number
}

/** The part of a report that counts. */
export interface CounterReport {
  epoch: number
  rx: bigint | string
  tx: bigint | string
  handshake_at: number
}

export const emptyAccount: Readonly<CounterAccount> = {
  epoch: 0,
  baseRx: 0n,
  baseTx: 0n,
  rx: 0n,
  tx: 0n,
  handshakeAt: 0,
}

/**
 * Adds a cumulative report to an account. Within an epoch: base + counter, and never less than before. A newer epoch
 * starts on top of what was counted so far. An older one is late and counts nothing: what it told is in the base
 * already or is lost, but it is never counted twice.
 * @returns the account itself when the report tells nothing new
 */
export function foldCounters(account: CounterAccount, report: CounterReport): CounterAccount {
  if (report.epoch < account.epoch) return account
  const renewed = report.epoch > account.epoch
  const baseRx = renewed ? account.rx : account.baseRx
  const baseTx = renewed ? account.tx : account.baseTx
  const rx = max(account.rx, baseRx + BigInt(report.rx))
  const tx = max(account.tx, baseTx + BigInt(report.tx))
  const handshakeAt = Math.max(account.handshakeAt, report.handshake_at)
  if (!renewed && rx === account.rx && tx === account.tx && handshakeAt === account.handshakeAt) return account
  return { epoch: report.epoch, baseRx, baseTx, rx, tx, handshakeAt }
}

const max = (a: bigint, b: bigint) => (a > b ? a : b)
