import type { Counters, NodeConfig, NodeMessage, ServerMessage, SlotChange } from '../messages.ts'

type Auth = Extract<NodeMessage, { type: 'auth' }>
type Health = Omit<Extract<NodeMessage, { type: 'health' }>, 'type'>

/** Why a link is closed by the server; 44xx are ours. The node dials again after every one of them. */
export const CLOSE = {
  stopping: 1001,
  protocol: 4400,
  unauthorized: 4401,
  auth_timeout: 4408,
  replaced: 4409,
  internal: 1011,
  too_slow: 1013,
} as const

/** What happens to one link on the server. */
export type LinkEvent =
  /** The socket is open; `nonce` is fresh and random (22 to 64 characters). */
  | { type: 'opened'; nonce: string }
  | { type: 'message'; message: NodeMessage }
  /** A message that did not parse. */
  | { type: 'invalid'; error: string }
  /** Answer to `verify`: the node's signature is right and it may be linked. */
  | { type: 'verified'; config: NodeConfig; watch: readonly number[] }
  /** Answer to `verify`: it is not. With `dismissed` the node is told to stop for good. */
  | { type: 'refused'; reason: string; dismissed: boolean }
  /**
   * Answer to `read`, all of it read from one snapshot of the database. With `since` null: every slot that was ever
   * used, held or empty. Else: at least every slot changed at or after `since`. Every change below `horizon` is in it.
   */
  | { type: 'rows'; since: string | null; horizon: string; rows: readonly SlotChange[] }
  | { type: 'read_failed' }
  /** Something changed for this node. May be said too often, must not be said too rarely. */
  | { type: 'woken' }
  | { type: 'config'; config: NodeConfig }
  /** The slots somebody looks at now. */
  | { type: 'watch'; slots: readonly number[] }
  | { type: 'rotate_key' }
  /** The node was removed or replaced. */
  | { type: 'dismissed'; reason: string }
  /** The reports of this link up to `seq` are stored durably. */
  | { type: 'counted'; seq: number }
  /** Once a second, with the bytes waiting in the socket's buffer. */
  | { type: 'tick'; buffered: number }
  /** The server stops or the node opened another link. */
  | { type: 'end'; code: number; reason: string }
  | { type: 'closed' }

/** A slot as the node's kernel has it now. */
export interface Acknowledged {
  slot: number
  version: number
  /** True: the peer is live. False: the kernel holds nobody for this slot, the lease may rest. */
  held: boolean
}

/** What a link wants done, in this order. */
export type LinkEffect =
  | { type: 'send'; message: ServerMessage }
  /** Check the node, its identity key, the signature over `linkProof(installation, nonce, node_id)`. */
  | { type: 'verify'; auth: Auth; nonce: string }
  /** Read the node's slots; one read at a time. Null: all of them. */
  | { type: 'read'; since: string | null }
  /** Fold these into the accounts (`foldCounters`) in this order; answer a `seq` with `counted` once they are durable. */
  | { type: 'counters'; seq: number | null; at: number | null; peers: readonly Counters[] }
  | { type: 'acknowledged'; slots: readonly Acknowledged[] }
  | { type: 'failed'; slots: readonly { slot: number; version: number; error: string }[] }
  /** Every change below this horizon is done in the kernel: every slot emptied below it is confirmed empty. */
  | { type: 'complete'; revision: string }
  | { type: 'linked'; agent: Auth['agent'] }
  | { type: 'health'; health: Health }
  | { type: 'new_key'; public_key: string }
  /** Where the node says its customers come out; replaces what it said before. */
  | { type: 'exits'; addresses: readonly string[] }
  | { type: 'close'; code: number; reason: string }
  | { type: 'warn'; code: string; detail: string }

/** A version told and not yet acknowledged. */
export interface Outstanding {
  version: number
  /** The horizon of the message that told it. */
  revision: bigint
  toldAt: number
}

export interface LinkOptions {
  installation: string
  /** Bytes in the socket's buffer above which nothing more is read; above it for `stallMs` the link is closed. */
  maxBuffered: number
  /** A told version not acknowledged after this is told again. */
  resendMs: number
  /** No sign of the node while something is outstanding, or a full buffer, for so long: close. */
  stallMs: number
  /** At least this often everything since the acknowledged horizon is read again. */
  safetyMs: number
  /** Challenge to proof at most this long. */
  authMs: number
  /** Between two snapshots at least this long. */
  snapshotEveryMs: number
}

/** One link as the server holds it. Times are monotonic ms. */
export interface LinkState {
  readonly options: LinkOptions
  phase: 'new' | 'challenged' | 'verifying' | 'linked' | 'closed'
  nonce: string
  openedAt: number
  auth: Auth | null
  /** The horizon of the last state message sent: where the node stands once it has read everything. */
  told: bigint
  /** How far the node has confirmed everything. */
  acked: bigint
  /** The horizon of the last read. */
  horizon: bigint
  /** Versions told on this link; once acknowledged they leave `outstanding` and stay here, so as not to be told again. */
  versions: Map<number, number>
  outstanding: Map<number, Outstanding>
  /** What the read under way was asked for; undefined = none is. */
  reading: { since: bigint | null; safety: boolean; at: number } | undefined
  /** What is to be read next. */
  wanted: { full: boolean; fresh: boolean; safety: boolean }
  /** The first state message of a link goes out even when it is empty. */
  greeted: boolean
  lastFullAt: number
  lastSafetyAt: number
  lastProgressAt: number
  retryAt: number
  buffered: number
  fullSince: number | null
  watch: readonly number[]
}
