import { maybeOne, one, type Db, type Tx } from '../platform/db/index.ts'
import type { Claim } from './claim-store.ts'

export type RotateWish = {
  connectionId: string
  userId: string
  deviceId: string
  publicKey: string
  sealedPsk: Buffer
  restSeconds: number
  overlapMs: number
}

/**
 * What became of the device's tunnel: none; a second lease beside it; or, without room or while a key waits already,
 * nothing yet: the caller passes its lease on by `rekeyLease`.
 */
export type Rotated =
  | { outcome: 'none' }
  | { outcome: 'overlaps'; connection: string; replaced: string[] }
  | { outcome: 'passed'; connection: string }

/** The tunnel's part of a rotation, in the transaction that changed the device's key; see the migration. */
export const rotateTunnel = (tx: Tx, wish: RotateWish): Promise<Rotated> =>
  one(tx<Rotated[]>`
    select outcome, connection, replaced
      from rotate_tunnel(${wish.connectionId}, ${wish.userId}, ${wish.deviceId}, ${wish.publicKey}, ${wish.sealedPsk},
                         make_interval(secs => ${wish.restSeconds}), make_interval(secs => ${wish.overlapMs / 1000}))`)

/** The lease of a tunnel passes to another key at once. */
export const rekeyLease = async (tx: Tx, connectionId: string, key: string, sealedPsk: Buffer): Promise<void> => {
  await tx`select rekey_lease(${connectionId}, ${key}, ${sealedPsk})`
}

/** A key that a device has, or had. */
export type DeviceKey = { userId: string; deviceId: string; publicKey: string }

/**
 * The key that `replaceKey` brought is good: from here on nothing takes it back.
 * @param tunnel one that another call made, if the answer tells such a one: it stays as well
 * @returns false when the device has got another key meanwhile, or that tunnel is gone
 */
export const settleKey = async (
  db: Db,
  { userId, deviceId, publicKey }: DeviceKey,
  tunnel: string | null = null,
): Promise<boolean> =>
  (
    await one(db<{ settled: boolean }[]>`
      select settle_device_key(${userId}, ${deviceId}, ${publicKey}, ${tunnel}) as settled`)
  ).settled

/** The key was made here and is told by one answer alone: if that is never given nobody has it. */
export const noteGenerated = (tx: Tx, deviceId: string) =>
  tx`update unsettled_keys set generated = true where device_id = ${deviceId}`

/**
 * No server took the key. The device and its tunnel go back to the last settled one; a later key, and what other calls
 * were told, stay (the rules stand in the migration).
 * @param tunnel the one that was to have the key, null without one; `claimed`: it was made for it
 * @returns servers to wake
 */
export const undoKey = async (
  tx: Tx,
  { userId, deviceId, publicKey }: DeviceKey,
  tunnel: { connection: string | null; claimed: boolean; overlapMs: number },
): Promise<string[]> =>
  (
    await one(tx<{ servers: string[] }[]>`
      select undo_device_key(${userId}, ${deviceId}, ${publicKey}, ${tunnel.connection}, ${tunnel.claimed},
                             make_interval(secs => ${tunnel.overlapMs / 1000})) as servers`)
  ).servers

/** A present tunnel as its conf shows it. */
export type PresentTunnel = Omit<Claim, 'outcome' | 'version' | 'replaced' | 'revived' | 'untold' | 'device'> & {
  version: bigint
}

/** The device's present tunnel; undefined without one. */
export const presentTunnel = (db: Db, userId: string, deviceId: string): Promise<PresentTunnel | undefined> =>
  maybeOne(db<PresentTunnel[]>`
    select c.id as connection, l.slot, l.version, host(c.client_ip) as address, host(c.client_ipv6) as address6,
           c.client_public_key as public_key, l.preshared_key, c.started_at, e.expires_at,
           s.id as server, s.hostname, s.location, host(s.ip_address) as ip_address, s.endpoint, s.public_key as server_key
      from connections c
      join leases l on l.connection_id = c.id
      join vpn_servers s on s.id = c.server_id
      join entitlements e on e.user_id = c.user_id
     where c.device_id = ${deviceId} and c.user_id = ${userId} and c.status = 'connected' and c.superseded_at is null
       and s.public_key is not null
     order by c.started_at desc limit 1`)

/** Keys made here so long ago that whoever waited for their answer has given up or died: nobody has them. */
export const lostKeys = async (db: Db, afterMs: number): Promise<DeviceKey[]> =>
  (
    await db<{ user_id: string; device_id: string; public_key: string }[]>`
      select d.user_id, k.device_id, d.public_key from unsettled_keys k join devices d on d.id = k.device_id
       where k.generated and d.public_key is not null
         and k.changed_at < clock_timestamp() - make_interval(secs => ${afterMs / 1000})
       order by k.changed_at limit 1000`
  ).map((row) => ({ userId: row.user_id, deviceId: row.device_id, publicKey: row.public_key }))
