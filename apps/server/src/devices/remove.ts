import type { AccessEnd } from '../accounts/index.ts'
import type { Sql } from '../platform/db/index.ts'
import { NotFound } from '../platform/errors.ts'
import { deleteDevice, deleteDevices, lingerPeers, lockUser, releaseKey } from './store.ts'

/** How long a peer outlives its device when the answer travels through it. */
const LINGER_MS = 500

/**
 * Removes a device: its tunnels end with the same commit, its key is free again.
 * @param throughIt the call came through the device's own tunnel: its answer gets out first
 * @throws {NotFound} also for somebody else's
 */
export async function removeDevice(db: Sql, userId: string, id: string, throughIt = false): Promise<void> {
  await db.begin(async (tx) => {
    await lockUser(tx, userId)
    if (throughIt) await lingerPeers(tx, LINGER_MS)
    const removed = await deleteDevice(tx, userId, id)
    if (!removed) throw new NotFound('The device')
    if (removed.public_key) await releaseKey(tx, userId, removed.public_key)
  })
}

/** Devices made before an address was proven may be somebody else's: they go with the first proof. */
export const endDevices: AccessEnd = async (tx, userId, why) => {
  if (why !== 'first_verified') return undefined
  await lockUser(tx, userId)
  for (const { public_key } of await deleteDevices(tx, userId)) {
    if (public_key) await releaseKey(tx, userId, public_key)
  }
  return undefined
}
