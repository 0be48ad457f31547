import { type CounterAccount, emptyAccount, foldCounters } from '../counters.ts'
import type { Counters, Peer, SlotChange } from '../messages.ts'

interface Row {
  slot: number
  version: number
  peer: Peer | null
  revision: number
  locked: boolean
  /** The node has confirmed that nobody is there: the slot may be given again. */
  rested: boolean
}

/** A tunnel as the server accounts for it, beside what the kernel really carried. */
export interface Connection {
  slot: number
  from: number
  to: number | null
  account: CounterAccount
  trueRx: bigint
  trueTx: bigint
  /** Bytes that no agent can know any more: it or the interface died before telling. */
  slackRx: bigint
  slackTx: bigint
}

/** The server's tables for one node, with transactions that take a revision early and commit late. */
export class DatabaseModel {
  readonly rows: Row[]
  readonly connections: Connection[] = []
  #nextRevision = 1
  readonly #open = new Set<number>()
  readonly #usedKeys = new Set<string>()

  constructor(slots: number) {
    this.rows = Array.from({ length: slots }, (_, slot) => ({
      slot,
      version: 0,
      peer: null,
      revision: 0,
      locked: false,
      rested: true,
    }))
  }

  held(): Row[] {
    return this.rows.filter((row) => row.peer)
  }

  free(): Row[] {
    return this.rows.filter((row) => !row.peer && row.rested && !row.locked)
  }

  keyIsFree(key: string): boolean {
    return !this.#usedKeys.has(key)
  }

  /**
   * Begins a transaction: locks the rows, takes a revision, reserves keys.
   * @returns its commit
   */
  begin(changes: readonly { slot: number; peer: Peer | null }[]): () => void {
    const revision = this.#nextRevision++
    this.#open.add(revision)
    for (const { slot, peer } of changes) {
      this.row(slot).locked = true
      if (peer) this.#usedKeys.add(peer.public_key)
    }
    return () => {
      this.#open.delete(revision)
      const kept = new Set(changes.map(({ peer }) => peer?.public_key))
      for (const { slot, peer } of changes) this.#change(this.row(slot), peer, revision, kept)
    }
  }

  #change(row: Row, peer: Peer | null, revision: number, kept: ReadonlySet<string | undefined>): void {
    row.version++
    const before = row.peer
    if (before && !kept.has(before.public_key)) this.#usedKeys.delete(before.public_key)
    if (before?.public_key !== peer?.public_key) {
      const ending = this.connections.find(({ slot, to }) => slot === row.slot && to === null)
      if (before && ending) ending.to = row.version
      if (peer) this.#connect(row)
    }
    if (before && !peer) row.rested = false
    row.peer = peer
    row.revision = revision
    row.locked = false
  }

  #connect(row: Row): void {
    this.connections.push({
      slot: row.slot,
      from: row.version,
      to: null,
      account: emptyAccount,
      trueRx: 0n,
      trueTx: 0n,
      slackRx: 0n,
      slackTx: 0n,
    })
  }

  /** What the server's node-link reads in one snapshot. */
  read(since: string | null): { horizon: string; rows: SlotChange[] } {
    const horizon = Math.min(this.#nextRevision, ...this.#open)
    const from = since === null ? 1 : Number(since)
    const rows = this.rows.filter((row) => row.version > 0 && row.revision >= from)
    return { horizon: String(horizon), rows: rows.map(({ slot, version, peer }) => ({ slot, version, peer })) }
  }

  row(slot: number): Row {
    const row = this.rows[slot]
    if (!row) throw new Error(`no slot ${slot}`)
    return row
  }

  connectionOf(slot: number, version: number): Connection | undefined {
    return this.connections.find((c) => c.slot === slot && c.from <= version && (c.to === null || version < c.to))
  }

  /** What was not counted so far for this slot may be lost for good, and so much more. */
  lose(slot: number, more = { rx: 0n, tx: 0n }): void {
    for (const connection of this.connections) {
      if (connection.slot !== slot) continue
      const lostRx = connection.trueRx - connection.account.rx + more.rx
      const lostTx = connection.trueTx - connection.account.tx + more.tx
      if (lostRx > connection.slackRx) connection.slackRx = lostRx
      if (lostTx > connection.slackTx) connection.slackTx = lostTx
    }
  }

  count(peers: readonly Counters[]): void {
    for (const counters of peers) {
      const connection = this.connectionOf(counters.slot, counters.version)
      if (connection) connection.account = foldCounters(connection.account, counters)
    }
  }
}
