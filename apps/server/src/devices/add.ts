import { assertStillSignedIn, type Principal } from '../auth/index.ts'
import { violatedConstraint, type Sql } from '../platform/db/index.ts'
import { AppError, Conflict } from '../platform/errors.ts'
import type { Idempotency } from '../platform/http/index.ts'
import { newId } from '../platform/ids.ts'
import { claimKey, deviceById, insertDevice, lockUser, type DeviceView, type NewDevice } from './store.ts'

export class DeviceLimitReached extends AppError {
  constructor() {
    super('DEVICE_LIMIT_REACHED', 'Your plan allows no more devices. Remove one, or choose a larger plan.')
  }
}

/** Does not tell whose: the key may be another account's, or stand on another device of the caller. */
export class KeyInUse extends Conflict {
  constructor() {
    super('This public key is already in use.')
  }
}

/**
 * Registers a device, with or without a WireGuard key.
 * @param idempotency of a repeated request: a device that the first one made is answered again
 * @throws {DeviceLimitReached} {KeyInUse} {Unauthenticated} the session or API token has ended meanwhile
 */
export async function addDevice(
  db: Sql,
  caller: Pick<Principal, 'userId' | 'sessionId'>,
  wish: NewDevice,
  idempotency: Idempotency | null = null,
): Promise<DeviceView> {
  const { userId } = caller
  const made = idempotency?.found ? await deviceById(db, userId, idempotency.found) : undefined
  if (made) return made
  const id = newId()
  const key = wish.public_key ?? null
  try {
    return await db.begin(async (tx) => {
      await lockUser(tx, userId)
      await assertStillSignedIn(tx, caller)
      const ours = key === null || (await claimKey(tx, userId, key))
      // The limit is judged before the key (403 before 409); a key of others is not written meanwhile.
      const device = await insertDevice(tx, id, userId, { ...wish, public_key: ours ? key : null })
      if (!device) throw new DeviceLimitReached()
      if (!ours) throw new KeyInUse()
      await idempotency?.mark(tx, id)
      return device
    })
  } catch (error) {
    if (violatedConstraint(error) === 'devices_public_key_key') throw new KeyInUse()
    throw error
  }
}
