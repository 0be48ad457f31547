import { KvUnavailable, type Kv } from '../platform/kv/index.ts'

/** Something in the fleet changed: every instance reads it anew. The message is the server's id or empty. */
export const FLEET_CHANGED = 'fleet-changed'
/** A node is no longer wanted. The message is the node's id. */
export const NODE_DISMISSED = 'node-dismissed'
/** What a linked node is told about its interface changed. The message is the server's id. */
export const NODE_CONFIG = 'node-config'
/** A server went offline or came back. The message is `{"server_id","status"}`. */
export const FLEET_STATUS = 'fleet-status'

/** Tells every instance. Without the store nothing is lost: all of it is in the database and read again within seconds. */
export async function tell(kv: Kv, channel: string, message: string): Promise<void> {
  try {
    await kv.publish(channel, message)
  } catch (error) {
    if (!(error instanceof KvUnavailable)) throw error
  }
}
