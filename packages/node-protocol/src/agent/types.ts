import type { Counters, NodeConfig, NodeMessage, Peer, ServerMessage, SlotApplied } from '../messages.ts'
import type { JournalEntry } from './journal.ts'

/** Both clocks of the machine, in ms: `wall` since 1970 (may step), `mono` only ever grows (timers use it). */
export interface Instant {
  wall: number
  mono: number
}

/** Raw counters as the kernel shows them; `handshake_at` in seconds since 1970, 0 = never. */
export interface KernelCounters {
  rx: bigint
  tx: bigint
  handshake_at: number
}

/** One peer of a kernel dump. */
export interface KernelPeer extends KernelCounters {
  public_key: string
  preshared_key: string | null
  allowed_ips: readonly string[]
}

/**
 * One write to the kernel. A batch is written in the order given, batches one after the other.
 * - `remove`: read the counters, remove the peer, flush the tracked flows of its addresses. An absent peer is `ok`.
 * - `set`: add the peer or set its PSK and exactly these addresses, in place. Counters go on, unless `fresh`: then a peer
 *   with this key is removed first, in the same write, and its counters come back as `last`.
 * - `reset`: read the counters, then remove and add in one write, so that the endpoint is forgotten.
 * - `purge`: like `remove`, for a key that belongs to no slot.
 */
export type KernelOp =
  | { op: 'remove'; slot: number; version: number; public_key: string; allowed_ips: readonly string[] }
  | { op: 'set'; slot: number; version: number; peer: Peer; fresh: boolean }
  | { op: 'reset'; slot: number; version: number; peer: Peer }
  | { op: 'purge'; public_key: string; allowed_ips: readonly string[] }

/** The outcome of one operation; `last` = the counters of the peer that was removed for it, null when there was none. */
export interface KernelResult {
  ok: boolean
  error?: string
  last?: KernelCounters | null
}

/** What the agent tells about itself in `auth`. */
export interface AgentSelf {
  node_id: string
  version: string
  backend: 'kernel' | 'userspace'
  /** The interface's public key. */
  public_key: string
}

type Health = Omit<Extract<NodeMessage, { type: 'health' }>, 'type'>

/**
 * What happens to an agent. `link` is the number of the `dial` effect the socket came from: what an older socket still
 * says is ignored. `random` is uniform in [0, 1).
 */
export type AgentEvent =
  | { type: 'start' }
  | { type: 'link_opened'; link: number }
  | { type: 'link_message'; link: number; message: ServerMessage }
  /** A message that did not parse; it changes nothing. */
  | { type: 'link_invalid'; link: number; reason: string }
  /** The socket closed or could not be opened. */
  | { type: 'link_closed'; link: number; random: number }
  /** Answer to `sign`. */
  | { type: 'signed'; link: number; signature: string }
  /** Answer to a `kernel` effect: one result for each operation, in order. `interface_id` as in `kernel_dump`. */
  | { type: 'kernel_done'; batch: number; interface_id: string; results: readonly KernelResult[] }
  /**
   * Answer to `read_kernel`. `interface_id` names this life of the interface (e.g. boot id + ifindex, or pid + start
   * time of wireguard-go): another one means that all counters began anew.
   */
  | { type: 'kernel_dump'; interface_id: string; peers: readonly KernelPeer[] }
  /** `read_kernel` failed; it is tried again. */
  | { type: 'kernel_unreadable'; error: string }
  /** Answer to `rotate_key`: the interface has this key now. */
  | { type: 'key_rotated'; public_key: string }
  | { type: 'health'; health: Health }
  /** The addresses of the machine's uplinks, as they are now; told when the other end has not heard them. */
  | { type: 'exits'; addresses: readonly string[] }
  /** Once a second. */
  | { type: 'tick' }

/**
 * What an agent wants done, in this order; each must be done (or, for `kernel`, `read_kernel` and `sign`, be queued:
 * one queue, in order, answered in order) before the next.
 */
export type AgentEffect =
  /** Write down durably against kill -9 (append). With `compact` the entries are the whole state: write anew, rename. */
  | { type: 'persist'; compact: boolean; entries: readonly JournalEntry[] }
  /** Set interface and firewall. */
  | { type: 'configure'; config: NodeConfig }
  | { type: 'kernel'; batch: number; ops: readonly KernelOp[] }
  | { type: 'read_kernel' }
  /** Open a socket after `after_ms`; its events carry `link`. */
  | { type: 'dial'; link: number; after_ms: number }
  /** Sign `linkProof(installation, nonce, node_id)`. */
  | { type: 'sign'; link: number; installation: string; nonce: string }
  | { type: 'send'; link: number; message: NodeMessage }
  /** Make a new interface key, set it, answer with `key_rotated`. */
  | { type: 'rotate_key' }
  | { type: 'close'; link: number; code: number; reason: string }
  /** Stop the process and leave interface, peers and rules as they are. */
  | { type: 'exit'; code: number; reason: string }
  /** For the log; holds no key and no address. */
  | { type: 'warn'; code: string; detail: string }

/** A peer on its way out of the kernel, with what is needed to tell its last counters. */
export interface Leaving {
  public_key: string
  allowed_ips: readonly string[]
  counting: Counting
}

/** How the kernel's counters of one peer translate into what is reported. */
export interface Counting {
  /** The version of the slot that this peer was told with (the latest one when it was changed in place). */
  version: number
  /** Milliseconds since 1970 when the kernel began to count; grows with every new beginning. */
  epoch: number
  /**
   * The kernel holds this key already, from a life nobody remembers (the data folder was lost): the next comparison
   * takes it over, or writes it afresh, and leaves out what it counted until then.
   */
  takeover: boolean
  /** Added to the kernel's counters: what it counted before a `reset`, or less what it counted before a takeover. */
  offset: { rx: bigint; tx: bigint }
  /** The last handshake known, also when the kernel has forgotten it. */
  handshake_at: number
  /** The kernel's counters when last read in this process. */
  raw: KernelCounters | null
  /** A `reset` that was begun and not confirmed: the kernel's counters before it. */
  resetting: KernelCounters | null
}

/** One address slot as the node holds it. */
export interface Slot {
  slot: number
  version: number
  peer: Peer | null
  /** The revision of the message that brought this version. */
  at: bigint
  counting: Counting | null
  leaving: Leaving[]
  /** The last counters of the peer before, told with every acknowledgement until the slot is held again. */
  final: Counters | null
  /** Everything told below this is unaffected by the slot still being unconfirmed. */
  base: bigint
  /** The monotonic moment the present session's handshake is taken to have happened at. */
  idleSince: { handshake_at: number; mono: number } | null
  /** The version whose `set` the kernel confirmed last. */
  written: number | null
  /** What was reported last, unless a link was lost before it was counted. */
  sent: Counters | null
}

/** Counters of a counting that ended, reported until counted; `sent` = the report of this link that covers them. */
export interface Owed {
  counters: Counters
  sent: number | null
}

export interface LinkState {
  /** Number of the latest `dial`. */
  id: number
  phase: 'none' | 'dialling' | 'open' | 'signing' | 'authenticating' | 'welcomed' | 'closing'
  /** Monotonic ms of the last change of phase. */
  since: number
  attempts: number
  /** The installation of the other end, from its challenge. */
  installation: string | null
  /** A snapshot or changes have been taken on this link. */
  synced: boolean
  resync: { wanted: string | null; lastAt: number }
  /** A snapshot was taken and its last acknowledgement is still owed. */
  snapshot: bigint | null
  watch: ReadonlySet<number>
  /** The exits told on this link; null before. */
  exits: readonly string[] | null
  /** Reports sent on this link, and in which of them each slot not counted yet was. */
  seq: number
  uncounted: Map<number, number>
  /** Monotonic ms of the last report that covered all slots; null before the first of this link. */
  reportedAllAt: number | null
}

export interface KernelState {
  /** Null until the first dump: nothing is written before the kernel was read once. */
  interfaceId: string | null
  /** True once this process has read the kernel. */
  known: boolean
  reading: boolean
  /** Monotonic ms of the last request to read, and of the last reading. */
  askedAt: number
  readAt: number
  compareAt: number
  nextBatch: number
  batches: Map<number, readonly KernelOp[]>
  /** Operations in flight by slot and by key. */
  busySlots: Map<number, number>
  busyKeys: Map<string, number>
  /** Peers in the kernel that no slot wants, from the last dump. */
  foreign: Map<string, KernelPeer>
  /** Monotonic ms at which the next peer wants to be reset; Infinity = none. */
  resetAt: number
}

export interface AgentState {
  self: AgentSelf
  phase: 'new' | 'running' | 'dismissed'
  startedAt: number
  /** Why the desired state may be written: not yet, for want of a server since the start, or told by it. */
  trust: 'none' | 'cache' | 'server'
  installation: string | null
  config: NodeConfig | null
  /** A complete snapshot of this installation was taken once; changes since then keep it complete. */
  complete: boolean
  /** All changes below this horizon are in `slots`. */
  told: bigint
  /** All changes below this horizon are confirmed by the kernel. */
  confirmed: bigint
  slots: Map<number, Slot>
  /** Who holds a key (`k:`) or an address (`a:`). */
  claims: Map<string, number>
  /** Slots whose present version the kernel has not confirmed. */
  unconfirmed: Set<number>
  lastEpoch: number
  owed: Owed[]
  journalLines: number
  kernel: KernelState
  link: LinkState
}

/** One step under way: the state, and what it collects to be written, done and told at its end. */
export interface Turn {
  readonly state: AgentState
  readonly now: Instant
  /** Slots whose journal line is out of date. */
  readonly dirtySlots: Set<number>
  dirtyMeta: boolean
  dirtyConfig: boolean
  /** The journal is to be written anew. */
  compact: boolean
  readonly newOwed: Counters[]
  /** Keys on their way out whose removal is not asked for yet; null until somebody wants to know. */
  doubtfulKeys: Set<string> | null
  readonly removals: KernelOp[]
  readonly writes: KernelOp[]
  /** Acknowledgements to send, the latest for each slot. */
  readonly applied: Map<number, SlotApplied>
  /** Tell the confirmed revision even when no slot is acknowledged. */
  acknowledge: boolean
  readonly messages: NodeMessage[]
  readonly warnings: AgentEffect[]
  readonly effects: AgentEffect[]
}
