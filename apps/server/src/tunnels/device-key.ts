import { generatePresharedKey } from '@prime-vpn/wireguard'
import { deviceById, nextRotationAt, releaseKey, replaceKey, type DeviceView } from '../devices/index.ts'
import { Conflict, NotFound, Unavailable } from '../platform/errors.ts'
import { newId } from '../platform/ids.ts'
import { answerOf } from './answer.ts'
import type { Claim } from './claim-store.ts'
import type { TunnelDeps } from './deps.ts'
import { presentTunnel, rekeyLease, rotateTunnel, settleKey, undoKey, type Rotated } from './device-key-store.ts'
import { forgetSubscription } from './device-subscription-store.ts'
import { announceConnected } from './events.ts'
import { openPsk, sealPsk } from './psk.ts'
import type { ConnectAnswer } from './schemas.ts'

/** How long the old key of a device works beside the new one, unless that is used before (api.md, section 2). */
const OVERLAP_MS = 600_000

export type RotatedDevice = DeviceView & { next_rotation_at: Date; connection?: ConnectAnswer }

type Wish = { userId: string; deviceId: string; publicKey: string }
type Change = { changed: boolean; previous: string | null; tunnel: Rotated }

const changedAgain = (): Conflict => new Conflict('The key or tunnel of this device was changed again meanwhile.')

/** Key, tunnel and lease change together, or nothing does. */
function change({ db, secrets, settings }: TunnelDeps, wish: Wish): Promise<Change> {
  const { userId, deviceId, publicKey } = wish
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
    if (tunnel.outcome === 'passed')
      await rekeyLease(tx, tunnel.connection, publicKey, sealPsk(secrets, tunnel.connection, generatePresharedKey()))
    return { changed, previous, tunnel }
  })
}

/** The new key is not told to anybody: device and tunnel are as they were, but for what other calls did meanwhile. */
async function takeBack({ db, nodeLink }: TunnelDeps, wish: Wish, { changed, tunnel }: Change): Promise<void> {
  if (!changed) return
  const connection = tunnel.outcome === 'none' ? null : tunnel.connection
  const of = { connection, claimed: tunnel.outcome === 'overlaps', overlapMs: OVERLAP_MS }
  const servers = await db.begin((tx) => undoKey(tx, wish, of))
  for (const server of servers) nodeLink.wake(server)
}

/** The tunnel of the new key; undefined without one. @throws {Conflict} the present one has another key */
async function claimOf({ db }: TunnelDeps, wish: Wish, { tunnel }: Change): Promise<Claim | undefined> {
  const present = await presentTunnel(db, wish.userId, wish.deviceId)
  if (!present) return undefined
  if (present.public_key !== wish.publicKey) throw changedAgain()
  const { version, ...rest } = present
  return {
    ...rest,
    version: Number(version),
    outcome: 'connected',
    device: wish.deviceId,
    revived: false,
    untold: false,
    replaced: tunnel.outcome === 'overlaps' ? tunnel.replaced : [],
  }
}

/** @throws {Unavailable} the node did not confirm in time */
async function waitUntilLive({ nodeLink, settings, log }: TunnelDeps, claim: Claim): Promise<void> {
  nodeLink.wake(claim.server)
  const state = await nodeLink.live(claim.server, claim.slot, claim.version, settings.connectTimeoutMs)
  if (state === 'live') return
  log.warn({ server: claim.server, state }, 'a rotated key did not become live in time')
  throw new Unavailable('The server did not take the new key in time. Keep the present one and try again.')
}

/**
 * From here on the key counts; the conf behind a subscription URL has an older one.
 * @throws {Conflict} a later key came {NotFound} the device is gone
 */
async function settle({ db }: TunnelDeps, wish: Wish, done: Change, claim: Claim | undefined): Promise<void> {
  const { userId, deviceId } = wish
  const isOurs = done.tunnel.outcome === 'overlaps'
  await db.begin(async (tx) => {
    if (!(await settleKey(tx, wish, isOurs ? null : (claim?.connection ?? null)))) {
      if (!(await deviceById(tx, userId, deviceId))) throw new NotFound('The device')
      throw changedAgain()
    }
    if (done.tunnel.outcome === 'none' && done.previous !== null) await releaseKey(tx, userId, done.previous)
    await forgetSubscription(tx, userId, deviceId)
  })
}

/**
 * Gives a device another key. With a tunnel the new key gets a second lease beside the old one, which ends at the new
 * one's first handshake or after ten minutes; answers when the new peer is live on the server. Asking again with the
 * present key changes nothing but the subscription URL, which goes, and answers the same.
 * @throws {NotFound} {KeyInUse} {Conflict} a later key came meanwhile
 * @throws {Unavailable} the node did not confirm in time; everything is as before
 */
export async function rotateDeviceKey(deps: TunnelDeps, wish: Wish): Promise<RotatedDevice> {
  const { db, secrets, settings } = deps
  const done = await change(deps, wish)
  let claim: Claim | undefined
  try {
    claim = await claimOf(deps, wish, done)
    if (claim) await waitUntilLive(deps, claim)
    await settle(deps, wish, done, claim)
  } catch (error) {
    await takeBack(deps, wish, done)
    throw error
  }
  if (claim && done.tunnel.outcome === 'overlaps') announceConnected(deps, wish.userId, claim)
  const device = await deviceById(db, wish.userId, wish.deviceId)
  if (!device) throw new NotFound('The device')
  const psk = claim && openPsk(secrets, claim.connection, claim.preshared_key)
  return {
    ...device,
    next_rotation_at: await nextRotationAt(db, wish.deviceId),
    ...(claim && psk ? { connection: answerOf(claim, psk, null, settings.dns) } : {}),
  }
}
