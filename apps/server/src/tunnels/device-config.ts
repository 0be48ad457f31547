import { generateKeyPair } from '@prime-vpn/wireguard'
import encodeQR from 'qr'
import { deviceById, replaceKey } from '../devices/index.ts'
import { Conflict, NotFound } from '../platform/errors.ts'
import type { Idempotency } from '../platform/http/index.ts'
import { confOf } from './conf.ts'
import { connect, type Caller, type NewKey } from './connect.ts'
import type { TunnelDeps } from './deps.ts'
import { noteGenerated, presentTunnel, settleKey, undoKey } from './device-key-store.ts'
import {
  deleteSubscription,
  keepSubscription,
  putSubscription,
  type NewSubscription,
} from './device-subscription-store.ts'
import { openPsk } from './psk.ts'

export type DeviceConfig = { config: string; filename: string }
export type ServerWish = { server_id?: string | undefined; location?: string | undefined }

/** wg-quick takes the file's name for the interface's: at most 15 of these characters, and ours in front. */
const LONGEST_NAME = 9

/** A file name made here: of the device's name only plain letters and digits are left. */
export function filenameOf(deviceName: string): string {
  const plain = deviceName
    .normalize('NFKD')
    .replace(/[^A-Za-z0-9]+/g, '')
    .toLowerCase()
    .slice(0, LONGEST_NAME)
  return `prime-${plain || 'vpn'}.conf`
}

/** A conf as a QR code, an SVG picture. Low correction: confs are long, and a screen does not get scratched. */
export const qrOf = (config: string): string => encodeQR(config, 'svg', { ecc: 'low', border: 4 })

type KeyPair = { publicKey: string; privateKey: string }

/**
 * Makes a key pair for the device and opens, or moves, its tunnel with it. The private key is not kept here, but for a
 * subscription, which is written with the key: whatever revokes those of an account while the node is asked finds it.
 * @returns the whole conf
 * @throws as `connect` does; then the device has the key it had {Conflict} another key came, or the subscription went
 */
export async function makeConfig(
  deps: TunnelDeps,
  caller: Caller,
  deviceId: string,
  wish: ServerWish,
  idempotency: Idempotency | null,
  subscriptionOf: ((pair: KeyPair) => NewSubscription) | null = null,
): Promise<DeviceConfig> {
  const { userId } = caller
  const { publicKey, privateKey } = generateKeyPair()
  const key = { userId, deviceId, publicKey }
  const newKey: NewKey = {
    privateKey,
    async store(tx) {
      await replaceKey(tx, userId, deviceId, publicKey)
      await noteGenerated(tx, deviceId)
      if (subscriptionOf) await putSubscription(tx, subscriptionOf({ publicKey, privateKey }))
    },
    async settle(tx) {
      const isOurs = await settleKey(tx, key)
      if (!isOurs && !(await deviceById(tx, userId, deviceId))) throw new NotFound('The device')
      const left = await keepSubscription(tx, userId, deviceId, subscriptionOf ? publicKey : null)
      if (!isOurs || (subscriptionOf && !left)) throw new Conflict('This device was changed meanwhile. Try again.')
    },
    async undo(tx, connection, overlapMs) {
      // Takes the user's lock, which comes first.
      const servers = await undoKey(tx, key, { connection, claimed: true, overlapMs })
      await deleteSubscription(tx, deviceId, publicKey)
      return servers
    },
  }
  const body = { ...wish, device_id: deviceId, client_public_key: publicKey }
  const answer = await connect(deps, caller, body, idempotency, newKey)
  const device = await deviceById(deps.db, userId, deviceId)
  return { config: answer.wg_config, filename: filenameOf(device?.name ?? '') }
}

/**
 * The conf of the device's present tunnel.
 * @param privateKey null: a line says that it is on the device
 * @throws {NotFound} also for somebody else's device {Conflict} it has no tunnel
 */
export async function renderConfig(
  { db, secrets, settings }: TunnelDeps,
  userId: string,
  deviceId: string,
  privateKey: string | null,
): Promise<DeviceConfig> {
  const device = await deviceById(db, userId, deviceId)
  if (!device) throw new NotFound('The device')
  const tunnel = await presentTunnel(db, userId, deviceId)
  if (!tunnel) throw new Conflict('This device has no tunnel at the moment. Connect it first.')
  const presharedKey = openPsk(secrets, tunnel.connection, tunnel.preshared_key)
  return {
    config: confOf({ ...tunnel, privateKey, presharedKey, dns: settings.dns }),
    filename: filenameOf(device.name),
  }
}
