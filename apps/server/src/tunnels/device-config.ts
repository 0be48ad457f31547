import { generateKeyPair } from '@prime-vpn/wireguard'
import encodeQR from 'qr'
import { deviceById, replaceKey, restoreKey } from '../devices/index.ts'
import { Conflict, NotFound } from '../platform/errors.ts'
import type { Idempotency } from '../platform/http/index.ts'
import { confOf } from './conf.ts'
import { connect, type Caller } from './connect.ts'
import type { TunnelDeps } from './deps.ts'
import { presentTunnel } from './device-key-store.ts'
import { forgetSubscription } from './device-subscription-store.ts'
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

/**
 * Makes a key pair for the device and opens, or moves, its tunnel with it. The private key is not kept here.
 * @returns the whole conf, and the private key for who must have it
 * @throws as `connect` does; then the device has the key it had
 */
export async function makeConfig(
  deps: TunnelDeps,
  caller: Caller,
  deviceId: string,
  wish: ServerWish,
  idempotency: Idempotency | null,
): Promise<DeviceConfig & { privateKey: string; publicKey: string }> {
  const { userId } = caller
  const { publicKey, privateKey } = generateKeyPair()
  let previous: string | null = null
  const answer = await connect(
    deps,
    caller,
    { ...wish, device_id: deviceId, client_public_key: publicKey },
    idempotency,
    {
      privateKey,
      async store(tx) {
        previous = (await replaceKey(tx, userId, deviceId, publicKey)).previous
      },
      restore: (tx) => restoreKey(tx, userId, deviceId, { from: publicKey, to: previous }),
    },
  )
  await forgetSubscription(deps.db, userId, deviceId)
  const device = await deviceById(deps.db, userId, deviceId)
  return { config: answer.wg_config, filename: filenameOf(device?.name ?? ''), privateKey, publicKey }
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
