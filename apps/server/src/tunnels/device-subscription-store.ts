import { maybeOne, type Db } from '../platform/db/index.ts'

export type NewSubscription = {
  deviceId: string
  userId: string
  tokenHash: Buffer
  publicKey: string
  sealedPrivateKey: Buffer
}

/** One per device: a new one ends the old. @returns false when the device has got another key meanwhile */
export async function putSubscription(db: Db, s: NewSubscription): Promise<boolean> {
  const put = await db`
    insert into device_subscriptions (device_id, user_id, token_hash, public_key, private_key)
    select d.id, d.user_id, ${s.tokenHash}, d.public_key, ${s.sealedPrivateKey}
      from devices d where d.id = ${s.deviceId} and d.user_id = ${s.userId} and d.public_key = ${s.publicKey}
    on conflict (device_id) do update
       set token_hash = excluded.token_hash, public_key = excluded.public_key, private_key = excluded.private_key,
           created_at = clock_timestamp()`
  return put.count === 1
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
