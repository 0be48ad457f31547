import type { NodeConfig } from '@prime-vpn/node-protocol'
import { isPublicKey } from '@prime-vpn/wireguard'
import { violatedConstraint, type Sql } from '../platform/db/index.ts'
import { Conflict, invalidField } from '../platform/errors.ts'
import type { Kv } from '../platform/kv/index.ts'
import { FLEET_STATUS, tell } from './channels.ts'
import { installationId } from './installation.ts'
import { nodeConfig } from './node-config.ts'
import { linkRow, noteHealth, noteLinked, noteUnlinked, putServerKey, type HealthRow } from './node-store.ts'

/** A node as the room that holds its link needs it. */
export type LinkedNode = {
  nodeId: string
  serverId: string
  /** `ip_address` of its server. */
  address: string
  /** Ed25519, 32 raw bytes. */
  identityKey: Buffer
  installation: string
  config: NodeConfig
}

/** A heartbeat: at least every `HEARTBEAT_S`. What is undefined stays as it was. */
export type Health = {
  nodeId: string
  linkId: string
  load1?: number
  cores?: number
  conntrack?: number | null
  /** Round trip over the link in ms. */
  pingMs?: number
  warnings?: string[]
  /** Where it says its customers come out. */
  exits?: readonly string[]
}

export type FleetLinks = {
  /** What a node's link is judged and greeted with; undefined when the node is not wanted (any more). */
  nodeForLink(nodeId: string): Promise<LinkedNode | undefined>
  /** @param linkId a fresh UUID of this link. False when the node is unknown. */
  markLinked(
    nodeId: string,
    link: { linkId: string; agentVersion: string; backend: 'kernel' | 'userspace' },
  ): Promise<boolean>
  /** A goodbye of a link that is not the open one changes nothing. */
  markUnlinked(nodeId: string, linkId: string): Promise<void>
  /** Many nodes' heartbeats in one statement. */
  recordHealth(batch: readonly Health[]): Promise<void>
  /**
   * Stores the key a node rotated to. False when the node is unknown.
   * @throws {Conflict} the key is in use
   * @throws {InvalidInput} it is none
   */
  storeNewKey(nodeId: string, publicKey: string): Promise<boolean>
}

const rowOf = (health: Health): HealthRow => ({
  nodeId: health.nodeId,
  linkId: health.linkId,
  load1: health.load1 ?? null,
  cores: health.cores ?? null,
  conntrack: health.conntrack ?? null,
  pingMs: health.pingMs ?? null,
  warnings: health.warnings ?? null,
  exits: health.exits ?? null,
})

export function createLinks(deps: { db: Sql; kv: Kv; changed: (serverId: string) => Promise<void> }): FleetLinks {
  const { db, kv, changed } = deps
  let installation: Promise<string> | undefined
  const installationOnce = async (): Promise<string> => {
    installation ??= installationId(db)
    try {
      return await installation
    } catch (error) {
      installation = undefined
      throw error
    }
  }

  return {
    async nodeForLink(nodeId) {
      const row = await linkRow(db, nodeId)
      if (!row) return undefined
      const { server_id: serverId, ip_address: address, identity_key: identityKey } = row
      const config = nodeConfig(row)
      return { nodeId, serverId, address, identityKey, installation: await installationOnce(), config }
    },

    async markLinked(nodeId, link) {
      const noted = await db.begin((tx) => noteLinked(tx, nodeId, link))
      if (!noted) return false
      await changed(noted.server_id)
      if (noted.returned) await tell(kv, FLEET_STATUS, JSON.stringify({ server_id: noted.server_id, status: 'active' }))
      return true
    },

    async markUnlinked(nodeId, linkId) {
      const serverId = await noteUnlinked(db, nodeId, linkId)
      if (serverId !== undefined) await changed(serverId)
    },

    async recordHealth(batch) {
      if (batch.length > 0) await noteHealth(db, batch.map(rowOf))
    },

    async storeNewKey(nodeId, publicKey) {
      if (!isPublicKey(publicKey)) throw invalidField('public_key', 'must be a WireGuard public key')
      const serverId = await putServerKey(db, nodeId, publicKey).catch((error: unknown) => {
        if (violatedConstraint(error) === 'vpn_servers_public_key_key')
          throw new Conflict('This WireGuard key is in use.')
        throw error
      })
      if (serverId === undefined) return false
      await changed(serverId)
      return true
    },
  }
}
