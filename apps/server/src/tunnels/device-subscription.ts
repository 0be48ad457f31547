import { createHash, randomBytes } from 'node:crypto'
import { failedProof } from '../auth/index.ts'
import { deviceById } from '../devices/index.ts'
import { NotFound } from '../platform/errors.ts'
import type { Idempotency } from '../platform/http/index.ts'
import type { Caller } from './connect.ts'
import type { TunnelDeps } from './deps.ts'
import { makeConfig, renderConfig, type DeviceConfig, type ServerWish } from './device-config.ts'
import { forgetSubscription, subscriptionByHash } from './device-subscription-store.ts'

const PURPOSE = 'subscription'
const FORM = /^psu_[A-Za-z0-9_-]{43}$/

/** 256 random bits. */
const newToken = (): string => `psu_${randomBytes(32).toString('base64url')}`
const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest()

/**
 * Makes a key pair and tunnel for a device, and a secret address that gives its conf from now on. Of the token only a
 * hash is kept, and the private key sealed under it: our tables alone open nothing.
 * @returns the token, told this once
 */
export async function subscribeDevice(
  deps: TunnelDeps,
  caller: Caller,
  deviceId: string,
  wish: ServerWish,
  idempotency: Idempotency | null,
): Promise<string> {
  const token = newToken()
  const { userId } = caller
  await makeConfig(deps, caller, deviceId, wish, idempotency, ({ publicKey, privateKey }) => ({
    deviceId,
    userId,
    tokenHash: hashOf(token),
    publicKey,
    sealedPrivateKey: deps.secrets.seal(PURPOSE, deviceId, Buffer.from(privateKey), Buffer.from(token)),
  }))
  return token
}

/** Revokes the address; the tunnel stays. @throws {NotFound} no such device, or it has none */
export async function unsubscribeDevice({ db }: TunnelDeps, userId: string, deviceId: string): Promise<void> {
  if (!(await deviceById(db, userId, deviceId))) throw new NotFound('The device')
  if (!(await forgetSubscription(db, userId, deviceId))) throw new NotFound('The subscription URL')
}

/**
 * What the address gives: the conf of the device's present tunnel, private key included. Changes nothing.
 * @throws {NotFound} unknown or revoked, a failed attempt {Conflict} no tunnel
 */
export async function fetchSubscription(deps: TunnelDeps, token: string): Promise<DeviceConfig> {
  const found = FORM.test(token) ? await subscriptionByHash(deps.db, hashOf(token)) : undefined
  if (!found) throw failedProof('secret', new NotFound('The configuration'))
  const { device_id: deviceId } = found
  const privateKey = deps.secrets.open(PURPOSE, deviceId, found.private_key, Buffer.from(token)).toString()
  return renderConfig(deps, found.user_id, deviceId, privateKey)
}
