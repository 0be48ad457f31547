import { generatePresharedKey } from '@prime-vpn/wireguard'
import { deviceById, nextRotationAt, releaseKey, replaceKey, restoreKey, type DeviceView } from '../devices/index.ts'
import type { Tx } from '../platform/db/index.ts'
import { Conflict, NotFound, Unavailable } from '../platform/errors.ts'
import { newId } from '../platform/ids.ts'
import { answerOf } from './answer.ts'
import { cancelClaim, type Claim } from './claim-store.ts'
import type { TunnelDeps } from './deps.ts'
import { presentTunnel, rekeyLease, rotateTunnel, type Rotated } from './device-key-store.ts'
import { forgetSubscription } from './device-subscription-store.ts'
import { announceConnected } from './events.ts'
import { openPsk, sealPsk } from './psk.ts'
import type { ConnectAnswer } from './schemas.ts'

/** How long the old key of a device works beside the new one, unless that is used before (api.md, section 2). */
const OVERLAP_MS = 600_000

export type RotatedDevice = DeviceView & { next_rotation_at: Date; connection?: ConnectAnswer }

type Wish = { userId: string; deviceId: string; publicKey: string }
type Change = { changed: boolean; previous: string | null; tunnel: Rotated }

/** Key, tunnel and lease change together, or nothing does. */
function change({ db, secrets, settings }: TunnelDeps, { userId, deviceId, publicKey }: Wish): Promise<Change> {
  return db.begin(async (tx): Promise<Change> => {
    const { changed, previous } = await replaceKey(tx, userId, deviceId, publicKey)
    if (!changed) return { changed, previous, tunnel: { outcome: 'none' } }
    const connectionId = newId()
    const tunnel = await rotateTunnel(tx, {
      connectionId,
      userId,
      deviceId,
      publicKey,
      sealedPsk: sealPsk(secrets, connectionId, generatePresharedKey()),
      restSeconds: settings.restSeconds,
      overlapMs: OVERLAP_MS,
    })
    if (tunnel.outcome === 'none' && previous !== null) await releaseKey(tx, userId, previous)
    if (tunnel.outcome === 'passed')
      await rekeyLease(tx, tunnel.connection, publicKey, sealPsk(secrets, tunnel.connection, generatePresharedKey()))
    return { changed, previous, tunnel }
  })
}

/** The node did not take the new key: device and tunnel are as they were. */
async function takeBack({ db, nodeLink }: TunnelDeps, wish: Wish, { previous, tunnel }: Change, server: string) {
  await db.begin(async (tx: Tx) => {
    await restoreKey(tx, wish.userId, wish.deviceId, { from: wish.publicKey, to: previous })
    if (tunnel.outcome === 'overlaps')
      await cancelClaim(tx, {
        connectionId: tunnel.connection,
        userId: wish.userId,
        kept: false,
        overlapMs: OVERLAP_MS,
      })
    if (tunnel.outcome === 'passed') await rekeyLease(tx, tunnel.connection, tunnel.previous_key, tunnel.previous_psk)
  })
  nodeLink.wake(server)
}

async function connectionOf(deps: TunnelDeps, wish: Wish, done: Change): Promise<ConnectAnswer | undefined> {
  const { db, nodeLink, settings, secrets, log } = deps
  const present = await presentTunnel(db, wish.userId, wish.deviceId)
  if (!present) return undefined
  if (present.public_key !== wish.publicKey) throw new Conflict('The key of this device was changed again meanwhile.')
  const { version, ...rest } = present
  const claim: Claim = {
    ...rest,
    version: Number(version),
    outcome: 'connected',
    device: wish.deviceId,
    revived: false,
    replaced: done.tunnel.outcome === 'overlaps' ? done.tunnel.replaced : [],
  }
  nodeLink.wake(claim.server)
  const state = await nodeLink.live(claim.server, claim.slot, claim.version, settings.connectTimeoutMs)
  if (state !== 'live') {
    log.warn({ server: claim.server, state }, 'a rotated key did not become live in time')
    if (done.changed) await takeBack(deps, wish, done, claim.server)
    throw new Unavailable('The server did not take the new key in time. Keep the present one and try again.')
  }
  if (done.tunnel.outcome === 'overlaps') announceConnected(deps, wish.userId, claim)
  return answerOf(claim, openPsk(secrets, claim.connection, claim.preshared_key), null, settings.dns)
}

/**
 * Gives a device another key. With a tunnel the new key gets a second lease beside the old one, which ends at the new
 * one's first handshake or after ten minutes; answers when the new peer is live on the server. Asking again with the
 * present key changes nothing and answers the same.
 * @throws {NotFound} {KeyInUse}
 * @throws {Unavailable} the node did not confirm in time; everything is as before
 */
export async function rotateDeviceKey(deps: TunnelDeps, wish: Wish): Promise<RotatedDevice> {
  const { db } = deps
  const done = await change(deps, wish)
  const connection = await connectionOf(deps, wish, done)
  if (done.changed) await forgetSubscription(db, wish.userId, wish.deviceId)
  const device = await deviceById(db, wish.userId, wish.deviceId)
  if (!device) throw new NotFound('The device')
  return {
    ...device,
    next_rotation_at: await nextRotationAt(db, wish.deviceId),
    ...(connection ? { connection } : {}),
  }
}
