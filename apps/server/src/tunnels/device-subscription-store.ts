import { maybeOne, type Db, type Tx } from '../platform/db/index.ts'

export type NewSubscription = {
  deviceId: string
  userId: string
  tokenHash: Buffer
  publicKey: string
  sealedPrivateKey: Buffer
}

/** Beside an older one of the device, which opens nothing while the device has this key. */
export const putSubscription = (tx: Tx, s: NewSubscription) => tx`
  insert into device_subscriptions (device_id, user_id, token_hash, public_key, private_key)
  values (${s.deviceId}, ${s.userId}, ${s.tokenHash}, ${s.publicKey}, ${s.sealedPrivateKey})`

/** Takes `putSubscription` back. */
export const deleteSubscription = (tx: Tx, deviceId: string, publicKey: string) =>
  tx`delete from device_subscriptions where device_id = ${deviceId} and public_key = ${publicKey}`

/** Leaves a device only that of this key; null: none. @returns whether there is one */
export async function keepSubscription(
  tx: Tx,
  userId: string,
  deviceId: string,
  publicKey: string | null,
): Promise<boolean> {
  await tx`
    delete from device_subscriptions
     where device_id = ${deviceId} and user_id = ${userId} and public_key is distinct from ${publicKey}`
  return (await tx`select from device_subscriptions where device_id = ${deviceId} and user_id = ${userId}`).count > 0
}

export type Subscription = { device_id: string; user_id: string; name: string; private_key: Buffer }

/** The subscription of a token, as long as its account is active and its device has the key it was made with. */
export const subscriptionByHash = (db: Db, tokenHash: Buffer): Promise<Subscription | undefined> =>
  maybeOne(db<Subscription[]>`
    select s.device_id, s.user_id, d.name, s.private_key
      from device_subscriptions s
      join devices d on d.id = s.device_id and d.public_key = s.public_key
      join users u on u.id = s.user_id and u.is_active
     where s.token_hash = ${tokenHash}`)

/** @returns whether there was one */
export const forgetSubscription = async (db: Db, userId: string, deviceId: string): Promise<boolean> =>
  (await db`delete from device_subscriptions where device_id = ${deviceId} and user_id = ${userId}`).count > 0

/** Those of all devices of an account. */
export const forgetSubscriptions = (db: Db, userId: string) =>
  db`delete from device_subscriptions where user_id = ${userId}`
