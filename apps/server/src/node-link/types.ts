import type { Counters, SlotChange } from '@prime-vpn/node-protocol'
import type { FleetLinks } from '../fleet/index.ts'

/**
 * What the nodes should hold, kept by a higher room. Every change has a place in the database's history; a horizon is a
 * point in it (a transaction id as decimal): all changes below it are visible to whoever was told it.
 */
export interface DesiredState {
  /**
   * The slots of a server as they are now, read in one snapshot together with the horizon of that snapshot.
   * @param horizon only slots changed at or after it; null = every slot ever used, held or empty
   */
  changesSince(serverId: string, horizon: string | null): Promise<{ horizon: string; rows: SlotChange[] }>
  /** The node's kernel holds nobody in these slots as of these versions: their addresses may rest. */
  cleared(serverId: string, slots: readonly { slot: number; version: number }[]): Promise<void>
  /** The same for every slot emptied below this horizon. */
  clearedBelow(serverId: string, horizon: string): Promise<void>
}

/** What the room that knows the nodes does for their links. */
export type NodeRegistry = FleetLinks

/** Counters a node told. They may come twice, late or never; fold them by `foldCounters`. */
export interface NodeReport {
  serverId: string
  /** Milliseconds since 1970 at the node when the counters were read; null for those of removed peers. */
  at: number | null
  peers: readonly Counters[]
  /** These are the last counters of peers that were removed. */
  final: boolean
}

/**
 * Stores a report. Resolves once it is durable: only then the node is told that it need not repeat it, and only then the
 * address of a removed peer may rest. When it rejects, the link ends and the node repeats.
 */
export type ReportListener = (report: NodeReport) => void | Promise<void>
