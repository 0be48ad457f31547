import type { Counters } from '@prime-vpn/node-protocol'
import type { FastifyRequest } from 'fastify'
import type { Fleet, Place } from '../fleet/index.ts'
import type { Sql } from '../platform/db/index.ts'
import type { Kv } from '../platform/kv/index.ts'
import type { Log } from '../platform/log.ts'
import type { Secrets } from '../platform/secrets.ts'

/** What the room that holds the nodes' links does for this one. `version` counts the changes of a slot. */
export type NodeLink = {
  /** Waits until the node's kernel holds the slot in this version; at most `timeoutMs`. */
  live(serverId: string, slot: number, version: number, timeoutMs: number): Promise<'live' | 'failed' | 'timeout'>
  /** Waits until the kernel no longer holds the peer that this version took away; what it counted is stored by then. */
  gone(
    serverId: string,
    slot: number,
    version: number,
    timeoutMs: number,
  ): Promise<{ final: Counters | null } | 'timeout'>
  /** A change for this server was committed: whichever instance holds its link reads it now. */
  wake(serverId: string): void
}

/** A tunnel as counters know it. */
export type LiveKey = { connectionId: string; serverId: string; slot: number; version: number }
/** The present numbers of a tunnel. */
export type LiveSample = {
  bytesSent: bigint
  bytesReceived: bigint
  /** Mbit/s, from the customer's side. */
  uploadMbps: number
  downloadMbps: number
  lastHandshake: Date | null
}
/** What the room that counts tells this one. */
export type LiveCounters = {
  /** In the order of the keys; null where nothing was reported lately. */
  read(keys: readonly LiveKey[]): Promise<(LiveSample | null)[]> | (LiveSample | null)[]
  /** Asks for reports each second for the next 30 s. */
  watch(keys: readonly LiveKey[]): void
}

export type TunnelSettings = {
  /** `VPN_DNS`. */
  dns: readonly string[]
  /** `CONNECT_TIMEOUT_MS`. */
  connectTimeoutMs: number
  /** `LEASE_REST_SECONDS`. */
  restSeconds: number
  /** `CONNECTION_IDLE_HOURS`. */
  idleHours: number
  /** `REQUIRE_EMAIL_VERIFICATION`. */
  requireVerifiedEmail: boolean
}

export type TunnelDeps = {
  db: Sql
  kv: Kv
  log: Log
  secrets: Secrets
  fleet: Pick<Fleet, 'candidates' | 'reserve' | 'byId'>
  nodeLink: NodeLink
  live: LiveCounters
  settings: TunnelSettings
  /** The caller's address as TRUSTED_PROXIES lets us know it; looked at, never kept. */
  clientAddress(req: FastifyRequest): string
  /** Roughly where the caller is, when that is known; chooses the nearer of equal servers. */
  placeOf?: (req: FastifyRequest) => Place | undefined
}

/** How long a tunnel that was moved away from keeps its peer: the contract's 30 s, and never less than the move may take. */
export const overlapMs = ({ connectTimeoutMs }: TunnelSettings): number => Math.max(30_000, connectTimeoutMs + 5_000)
