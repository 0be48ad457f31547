import type { Sql } from '../platform/db/index.ts'
import type { Idempotency } from '../platform/http/index.ts'
import type { Kv } from '../platform/kv/index.ts'
import type { Log } from '../platform/log.ts'

/** What the room that holds the nodes' links does for this one. */
export type Links = {
  /** Asks the server's node for a new WireGuard key. False when its link is not up anywhere. */
  rotateKey(serverId: string): Promise<boolean>
}

export type FleetDeps = {
  db: Sql
  kv: Kv
  log: Log
  links: Links
  /** `VPN_SUBNET`: servers without an explicit subnet get a part of it. */
  vpnSubnet: string
  /** 0 <= n < 1; Math.random unless a test says otherwise. */
  random?: () => number
}

/** What use cases of staff are handed. */
export type Acts = {
  db: Sql
  kv: Kv
  links: Links
  vpnSubnet: string
  /** After an own write: this process reads the fleet at once, the others are told. */
  changed(serverId: string): Promise<void>
}

/** Notes the effect of a call with an Idempotency-Key in its transaction. */
export type Mark = Pick<Idempotency, 'mark'> | null

/** Who acts, for the audit log. */
export type Actor = { userId: string; requestId: string }
