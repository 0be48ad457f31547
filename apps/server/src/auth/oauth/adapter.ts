import { errors, type Adapter, type AdapterPayload } from 'oidc-provider'
import { lifetimesOf } from '../session/lifetimes.ts'
import type { Parts } from '../parts.ts'
import {
  artifactById,
  artifactByUid,
  artifactByUserCode,
  consumeArtifact,
  deleteArtifact,
  deleteArtifactsOfGrant,
  putArtifact,
  putDeviceStep,
  sha256,
  type Artifact,
  type DeviceStep,
  type StoredArtifact,
} from './artifact-store.ts'
import { metadataOf } from './client-metadata.ts'
import { clientById } from './client-store.ts'
import { isStepLost, letAnotherSignIn, noteStepTaken, StepTaken } from './twins.ts'
import { endGrant, sessionOfGrant, touchGrant } from './grant-store.ts'

const PURPOSE = 'oauth-artifact'

export type AdapterDeps = Pick<Parts, 'db' | 'secrets' | 'revocations' | 'config' | 'log'>

/** Another one entered or answered this device code a moment before. Named as the provider's own, for the page. */
class AlreadyUsed extends errors.InvalidRequest {
  override readonly name = 'AlreadyUsedError'
}

/** Which step of a device code the provider is writing; undefined when it makes it. */
function deviceStepOf({ accountId, error, inFlight }: AdapterPayload): DeviceStep | undefined {
  if (accountId !== undefined || error !== undefined) return 'answered'
  return inFlight ? 'entered' : undefined
}

/** Ends a consent and tells it on every instance. */
export async function endGrantAndTell({ db, revocations }: AdapterDeps, grantHash: Buffer): Promise<void> {
  const ended = await endGrant(db, grantHash)
  if (ended) await revocations.announce(ended)
}

/**
 * Where the provider keeps what it makes. A payload holds the secret it is found by, so it is sealed as a whole; look-ups
 * go by hashes, so a cut or extended token is another one.
 */
export class PostgresAdapter implements Adapter {
  readonly #deps: AdapterDeps
  readonly #model: string
  constructor(deps: AdapterDeps, model: string) {
    this.#deps = deps
    this.#model = model
  }

  #binding(idHash: Buffer): string {
    return `${this.#model} ${idHash.toString('base64url')}`
  }

  #open(row: StoredArtifact | undefined): AdapterPayload | undefined {
    if (!row) return undefined
    const text = this.#deps.secrets.open(PURPOSE, this.#binding(row.id_hash), row.payload).toString()
    const payload = JSON.parse(text) as AdapterPayload
    return row.consumed ? { ...payload, consumed: true } : payload
  }

  #userCodeMac(code: string): Buffer {
    return this.#deps.secrets.mac('oauth-user-code', code)
  }

  /** @throws {AlreadyUsed} a device code that another one entered or answered before; what was given for it ends */
  async upsert(id: string, payload: AdapterPayload, expiresIn: number): Promise<void> {
    const idHash = sha256(id)
    const { grantId, userCode, uid } = payload
    const artifact: Artifact = {
      model: this.#model,
      idHash,
      grantHash: this.#model === 'Grant' ? idHash : grantId === undefined ? null : sha256(grantId),
      userCodeMac: userCode === undefined ? null : this.#userCodeMac(userCode),
      uidHash: this.#model === 'Session' && uid !== undefined ? sha256(uid) : null,
      payload: this.#deps.secrets.seal(PURPOSE, this.#binding(idHash), Buffer.from(JSON.stringify(payload))),
      life: expiresIn,
    }
    const step = this.#model === 'DeviceCode' ? deviceStepOf(payload) : undefined
    if (this.#model === 'Session' && isStepLost()) return
    if (step === undefined) return void (await putArtifact(this.#deps.db, artifact))
    // The provider looked at the code before; between its look and this another one may have come.
    if (await putDeviceStep(this.#deps.db, step, artifact)) return
    if (artifact.grantHash) await endGrantAndTell(this.#deps, artifact.grantHash)
    throw new AlreadyUsed('code has already been used')
  }

  async find(id: string): Promise<AdapterPayload | undefined> {
    if (this.#model === 'Client') {
      const client = await clientById(this.#deps.db, id)
      return client && metadataOf(client)
    }
    const payload = this.#open(await artifactById(this.#deps.db, this.#model, sha256(id)))
    if (payload && this.#model === 'Interaction') letAnotherSignIn(payload)
    return payload
  }

  async findByUid(uid: string): Promise<AdapterPayload | undefined> {
    return this.#open(await artifactByUid(this.#deps.db, sha256(uid)))
  }

  async findByUserCode(userCode: string): Promise<AdapterPayload | undefined> {
    return this.#open(await artifactByUserCode(this.#deps.db, this.#userCodeMac(userCode)))
  }

  /**
   * Once only. Who comes second at the same moment has a copy: everything given under the consent ends.
   * @throws {InvalidGrant}
   */
  async consume(id: string): Promise<void> {
    const { db } = this.#deps
    const payload = await this.find(id)
    const grantHash = payload?.grantId === undefined ? null : sha256(payload.grantId)
    if (!(await consumeArtifact(db, this.#model, sha256(id)))) {
      this.#deps.log.warn({ model: this.#model }, 'a code or token of an app was used twice at once')
      if (grantHash) await endGrantAndTell(this.#deps, grantHash)
      throw new errors.InvalidGrant('it was used before')
    }
    if (this.#model === 'RefreshToken' && grantHash) await this.#touch(grantHash)
  }

  async #touch(grantHash: Buffer): Promise<void> {
    const { db, config } = this.#deps
    const session = await sessionOfGrant(db, grantHash)
    if (session) await touchGrant(db, grantHash, lifetimesOf(session.role, config).idleSeconds)
  }

  /** @throws {StepTaken} a page that another request has gone on from */
  async destroy(id: string): Promise<void> {
    if (this.#model === 'Grant') return endGrantAndTell(this.#deps, sha256(id))
    const deleted = await deleteArtifact(this.#deps.db, this.#model, sha256(id))
    if (this.#model !== 'Interaction') return
    if (!deleted) throw new StepTaken()
    noteStepTaken()
  }

  async revokeByGrantId(grantId: string): Promise<void> {
    await deleteArtifactsOfGrant(this.#deps.db, this.#model, sha256(grantId))
  }
}
