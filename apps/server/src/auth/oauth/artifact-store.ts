import { createHash } from 'node:crypto'
import { maybeOne, type Db } from '../../platform/db/index.ts'

/** What of a secret is stored. */
export const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest()

export type Artifact = {
  model: string
  idHash: Buffer
  grantHash: Buffer | null
  userCodeMac: Buffer | null
  uidHash: Buffer | null
  payload: Buffer
  /** Seconds. */
  life: number
}
export type StoredArtifact = { id_hash: Buffer; payload: Buffer; consumed: boolean }

/** A device code is kept an hour past its end, so that a late question hears `expired_token`. */
const DEVICE_CODE_KEPT_S = 3_600

export const putArtifact = (db: Db, a: Artifact) => db`
  insert into oauth_artifacts (model, id_hash, grant_hash, user_code_mac, uid_hash, payload, expires_at)
  values (${a.model}, ${a.idHash}, ${a.grantHash}, ${a.userCodeMac}, ${a.uidHash}, ${a.payload},
          clock_timestamp() + make_interval(secs => ${a.life + (a.model === 'DeviceCode' ? DEVICE_CODE_KEPT_S : 0)}))
  on conflict (model, id_hash) do update
     set grant_hash = excluded.grant_hash, user_code_mac = excluded.user_code_mac, uid_hash = excluded.uid_hash,
         payload = excluded.payload, expires_at = excluded.expires_at`

/** What happens to a device code: somebody types it in, then allows it or not. */
export type DeviceStep = 'entered' | 'answered'

/** Writes a step of a device code. @returns false when it was taken before: of any number of takers one gets it */
export async function putDeviceStep(db: Db, step: DeviceStep, a: Artifact): Promise<boolean> {
  const isEntry = step === 'entered'
  const taken = await db`
    update oauth_artifacts
       set payload = ${a.payload}, grant_hash = ${a.grantHash},
           entered_at = coalesce(entered_at, clock_timestamp()),
           answered_at = case when ${!isEntry} then clock_timestamp() end
     where model = ${a.model} and id_hash = ${a.idHash} and answered_at is null
       and (entered_at is null or ${!isEntry})`
  return taken.count === 1
}

const found = (db: Db) => db`select id_hash, payload, consumed_at is not null as consumed from oauth_artifacts`

export const artifactById = (db: Db, model: string, idHash: Buffer): Promise<StoredArtifact | undefined> =>
  maybeOne(db<StoredArtifact[]>`${found(db)} where model = ${model} and id_hash = ${idHash}`)

export const artifactByUid = (db: Db, uidHash: Buffer): Promise<StoredArtifact | undefined> =>
  maybeOne(db<StoredArtifact[]>`${found(db)} where uid_hash = ${uidHash}`)

export const artifactByUserCode = (db: Db, mac: Buffer): Promise<StoredArtifact | undefined> =>
  maybeOne(db<StoredArtifact[]>`${found(db)} where user_code_mac = ${mac}`)

/** Uses a code or token up. @returns false when somebody else did before: of any number of takers one gets it */
export async function consumeArtifact(db: Db, model: string, idHash: Buffer): Promise<boolean> {
  const taken = await db`
    update oauth_artifacts set consumed_at = clock_timestamp()
     where model = ${model} and id_hash = ${idHash} and consumed_at is null`
  return taken.count === 1
}

/** @returns whether there was one: of any number who delete it one did */
export const deleteArtifact = async (db: Db, model: string, idHash: Buffer): Promise<boolean> =>
  (await db`delete from oauth_artifacts where model = ${model} and id_hash = ${idHash}`).count > 0

export const deleteArtifactsOfGrant = (db: Db, model: string, grantHash: Buffer) =>
  db`delete from oauth_artifacts where model = ${model} and grant_hash = ${grantHash}`

/**
 * Notes that a device asks whether it was let in.
 * @returns whether it came too soon; then it must wait five seconds more from now on
 */
export async function notePoll(db: Db, idHash: Buffer): Promise<{ too_soon: boolean } | undefined> {
  return maybeOne(db<{ too_soon: boolean }[]>`
    update oauth_artifacts a
       set polled_at = clock_timestamp(), poll_seconds = a.poll_seconds + case when before.too_soon then 5 else 0 end
      from (select id_hash, coalesce(polled_at > clock_timestamp() - make_interval(secs => poll_seconds), false) as too_soon
              from oauth_artifacts where model = 'DeviceCode' and id_hash = ${idHash} for update) before
     where a.model = 'DeviceCode' and a.id_hash = before.id_hash
    returning before.too_soon`)
}

/** Removes what is over: expired, or of a consent whose session is gone (ended a day ago, or erased with its user). */
export const sweepArtifacts = (db: Db) => db`
  delete from oauth_artifacts a
   where a.expires_at < clock_timestamp()
      or (a.grant_hash is not null and a.created_at < clock_timestamp() - interval '10 minutes'
          and not exists (select from oauth_grants g where g.grant_hash = a.grant_hash))`
