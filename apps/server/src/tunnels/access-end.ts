import type { AccessEnd } from '../accounts/index.ts'
import { forgetSubscriptions } from './device-subscription-store.ts'
import { enforceEntitlement } from './end.ts'

/**
 * Tunnels of an account that lost its access end in the transaction that took it; nodes and sockets hear with the commit.
 * Secret addresses of confs go with everything but a change of role.
 */
export const endTunnelsOf: AccessEnd = async (tx, userId, why) => {
  await enforceEntitlement(tx, userId)
  if (why !== 'role_changed') await forgetSubscriptions(tx, userId)
  return undefined
}
