import type { AccessEnd } from '../accounts/index.ts'
import { enforceEntitlement } from './end.ts'

/** Tunnels of an account that lost its access end in the transaction that took it; nodes and sockets hear with the commit. */
export const endTunnelsOf: AccessEnd = async (tx, userId) => {
  await enforceEntitlement(tx, userId)
  return undefined
}
