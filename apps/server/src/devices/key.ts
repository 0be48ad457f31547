import type { Db, Tx } from '../platform/db/index.ts'
import { NotFound } from '../platform/errors.ts'
import { KeyInUse } from './add.ts'
import { keySince, replaceDeviceKey } from './store.ts'

/**
 * Days until a device should bring another key: who records traffic and later takes a server's key learns from its
 * handshakes which keys they were by, so none is used for long.
 */
const ROTATE_AFTER_DAYS = 7
const DAY_MS = 86_400_000

/** When the device should change its key. @throws {NotFound} */
export async function nextRotationAt(db: Db, deviceId: string): Promise<Date> {
  const since = await keySince(db, deviceId)
  if (!since) throw new NotFound('The device')
  return new Date(since.getTime() + ROTATE_AFTER_DAYS * DAY_MS)
}

/**
 * Gives a device another key in the caller's transaction, which also says what becomes of its tunnel; the caller settles
 * or undoes the key afterwards.
 * @returns whether it is another, and the one before
 * @throws {NotFound} {KeyInUse}
 */
export async function replaceKey(
  tx: Tx,
  userId: string,
  deviceId: string,
  key: string,
): Promise<{ changed: boolean; previous: string | null }> {
  const { outcome, previous } = await replaceDeviceKey(tx, userId, deviceId, key)
  if (outcome === 'device_gone') throw new NotFound('The device')
  if (outcome === 'key_in_use') throw new KeyInUse()
  return { changed: outcome === 'replaced', previous }
}
