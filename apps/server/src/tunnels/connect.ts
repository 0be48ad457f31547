import { generateKeyPair, generatePresharedKey } from '@prime-vpn/wireguard'
import { refusal, type Candidates, type Place, type Reservation, type Wish } from '../fleet/index.ts'
import type { Tx } from '../platform/db/index.ts'
import { AppError, Conflict, Forbidden, NotFound, Unavailable } from '../platform/errors.ts'
import type { Idempotency } from '../platform/http/index.ts'
import { newId } from '../platform/ids.ts'
import { answerOf } from './answer.ts'
import { cancelClaim, claimTunnel, tellClaim, type Claim, type ClaimWish, type Refused } from './claim-store.ts'
import { overlapMs, type TunnelDeps } from './deps.ts'
import { announceConnected } from './events.ts'
import { openPsk, sealPsk } from './psk.ts'
import type { ConnectAnswer, ConnectBody } from './schemas.ts'

/** Who connects, as his session tells. */
export type Caller = {
  userId: string
  tier: 'free' | 'premium'
  isVerified: boolean
  place?: Place | undefined
}

const REFUSALS: Record<Exclude<Refused['outcome'], 'full'>, () => AppError> = {
  inactive: () => new Forbidden('This account is not active.'),
  device_gone: () => new NotFound('The device'),
  limit: () => new AppError('CONNECTION_LIMIT_REACHED', 'Your plan allows no more connections at a time.'),
  no_key: () => new Conflict('The device has no WireGuard key.'),
  wrong_key: () => new Conflict('client_public_key is not the key of this device.'),
  key_in_use: () => new Conflict('This WireGuard key cannot be used.'),
}

function wishOf(caller: Caller, body: ConnectBody): Wish {
  const { server_id: serverId, location, country, feature } = body
  return { serverId, location, country, feature, tier: caller.tier, place: caller.place }
}

/**
 * Names servers, or the refusal of the fleet, which waits until what concerns the caller himself has been judged:
 * a foreign device is 404 and a full plan 403, whether there is room anywhere or not.
 */
function candidatesFor(deps: TunnelDeps, wish: Wish): Candidates & { refused?: unknown } {
  try {
    return deps.fleet.candidates(wish)
  } catch (refused) {
    if (refused instanceof NotFound) throw refused
    return { ids: [], whenFull: 'NO_SERVER_AVAILABLE', refused }
  }
}

/** A key made here for a device, which has it from the moment its tunnel is claimed. */
export type NewKey = {
  privateKey: string
  /** In the transaction of the claim, before it. */
  store(tx: Tx): Promise<void>
  /** The tunnel is live: from here on the key counts. @throws {Conflict} not any more */
  settle(tx: Tx): Promise<void>
  /** The tunnel did not come: it goes, and the device has the key it had. @returns servers to wake */
  undo(tx: Tx, connection: string, overlapMs: number): Promise<string[]>
}

/** What else belongs to a connect: the mark of a repeatable request, a key made for the device. */
type Along = { idempotency: Idempotency | null; newKey: NewKey | null }

/** One statement; what belongs to it is in the same transaction, and a refusal leaves nothing of either. */
function claim(
  deps: TunnelDeps,
  wish: ClaimWish,
  { idempotency, newKey }: Along,
  judge: (claimed: Claim | Refused) => Claim,
): Promise<Claim> {
  if (!idempotency && !newKey) return claimTunnel(deps.db, wish).then(judge)
  return deps.db.begin(async (tx: Tx) => {
    await newKey?.store(tx)
    const [, claimed] = await Promise.all([idempotency?.mark(tx, wish.connectionId), claimTunnel(tx, wish)])
    return judge(claimed)
  })
}

/** Claims on the first candidate with room, reserving it in memory so that others choose elsewhere meanwhile. */
async function claimSomewhere(
  deps: TunnelDeps,
  wish: Omit<ClaimWish, 'candidates'>,
  { ids, whenFull, refused }: ReturnType<typeof candidatesFor>,
  along: Along,
): Promise<Claim> {
  const judge = (claimed: Claim | Refused): Claim => {
    if (claimed.outcome === 'full') throw refused ?? refusal(whenFull)
    if (claimed.outcome !== 'connected' && claimed.outcome !== 'kept') throw REFUSALS[claimed.outcome]()
    return claimed
  }
  const reserved: Reservation | undefined = ids[0] === undefined ? undefined : deps.fleet.reserve(ids[0])
  try {
    const claimed = await claim(deps, { ...wish, candidates: ids }, along, judge)
    if (claimed.outcome === 'connected') reserved?.settle(claimed.server)
    return claimed
  } finally {
    reserved?.release()
  }
}

/** Nobody is told of this claim: what it changed is as before. */
async function takeBack(deps: TunnelDeps, userId: string, claimed: Claim, newKey: NewKey | null): Promise<void> {
  const { db, nodeLink } = deps
  const kept = claimed.outcome === 'kept'
  const overlap = overlapMs(deps.settings)
  const servers = newKey ? await db.begin((tx) => newKey.undo(tx, claimed.connection, overlap)) : []
  if (!newKey && (!kept || claimed.replaced.length > 0))
    await cancelClaim(db, { connectionId: claimed.connection, userId, kept, overlapMs: overlap })
  for (const server of new Set([claimed.server, ...servers])) nodeLink.wake(server)
}

/** A call that failed may have taken back the key or tunnel this one is about to answer with. */
async function tell({ db }: TunnelDeps, userId: string, claimed: Claim): Promise<void> {
  const told = await tellClaim(db, userId, claimed)
  if (told === 'device_gone') throw new NotFound('The device')
  if (told === 'key_changed') throw new Conflict('The key of this device was changed meanwhile.')
  if (told === 'gone') throw new Unavailable('The tunnel was ended meanwhile. Try again.')
}

/**
 * @throws {Unavailable} the node did not confirm in time {Conflict} the key counts no more {NotFound} the device is gone;
 * all is taken back
 */
async function waitUntilLive(deps: TunnelDeps, userId: string, claimed: Claim, newKey: NewKey | null): Promise<void> {
  const { nodeLink, db, settings, log } = deps
  nodeLink.wake(claimed.server)
  try {
    const state = await nodeLink.live(claimed.server, claimed.slot, claimed.version, settings.connectTimeoutMs)
    if (state !== 'live') {
      log.warn({ server: claimed.server, state }, 'a peer did not become live in time')
      throw new Unavailable('The server did not take the tunnel in time. Try again.')
    }
    if (newKey) await db.begin((tx) => newKey.settle(tx))
    else if (claimed.untold) await tell(deps, userId, claimed)
  } catch (error) {
    await takeBack(deps, userId, claimed, newKey)
    throw error
  }
}

/**
 * Opens a tunnel, or moves the one this device or key has. Answers when its peer is live on the server.
 * @param newKey made for the device of `body`, whose `client_public_key` is its public half
 * @param idempotency its found effect is a claim nobody was told of: it is taken back, since a private key made for it is lost
 * @throws {NotFound} unknown server or device @throws {Conflict} the key rules of api.md, section 4
 * @throws {AppError} EMAIL_NOT_VERIFIED, CONNECTION_LIMIT_REACHED, SUBSCRIPTION_REQUIRED, NO_SERVER_AVAILABLE
 * @throws {Unavailable} the node did not confirm in time; the claim is rolled back
 */
export async function connect(
  deps: TunnelDeps,
  caller: Caller,
  body: ConnectBody,
  idempotency: Idempotency | null,
  newKey: NewKey | null = null,
): Promise<ConnectAnswer> {
  const { settings, secrets, db } = deps
  if (settings.requireVerifiedEmail && !caller.isVerified)
    throw new AppError('EMAIL_NOT_VERIFIED', 'Verify your e-mail address first.')
  const { userId } = caller
  if (idempotency?.found) {
    const found = { connectionId: idempotency.found, userId, kept: false, overlapMs: overlapMs(settings) }
    await cancelClaim(db, found)
  }
  const generated = body.device_id === undefined && body.client_public_key === undefined ? generateKeyPair() : null
  const connectionId = newId()
  const presharedKey = generatePresharedKey()
  const wish = {
    connectionId,
    userId,
    deviceId: body.device_id ?? null,
    publicKey: generated?.publicKey ?? body.client_public_key ?? null,
    generated: generated !== null,
    sealedPsk: sealPsk(secrets, connectionId, presharedKey),
    restSeconds: settings.restSeconds,
    overlapMs: overlapMs(settings),
  }
  const claimed = await claimSomewhere(deps, wish, candidatesFor(deps, wishOf(caller, body)), {
    idempotency,
    newKey,
  })
  await waitUntilLive(deps, userId, claimed, newKey)
  announceConnected(deps, userId, claimed)
  const psk =
    claimed.outcome === 'connected' ? presharedKey : openPsk(secrets, claimed.connection, claimed.preshared_key)
  return answerOf(claimed, psk, newKey?.privateKey ?? generated?.privateKey ?? null, settings.dns)
}
