import { generateRegistrationOptions, verifyRegistrationResponse } from '@simplewebauthn/server'
import { accountById } from '../../accounts/index.ts'
import { violatedConstraint } from '../../platform/db/index.ts'
import { Conflict, invalidField, NotFound, type AppError } from '../../platform/errors.ts'
import type { Idempotency } from '../../platform/http/index.ts'
import { newId } from '../../platform/ids.ts'
import { failedProof } from '../failed-proof.ts'
import { factorChanged } from '../factor/manage.ts'
import type { Parts } from '../parts.ts'
import type { Principal } from '../principal.ts'
import { proveAgainUnlessFresh } from '../prove-again.ts'
import { lockCaller } from '../still-signed-in.ts'
import { Challenges } from './challenge.ts'
import { relyingParty } from './relying-party.ts'
import type { CreationOptions, NewCredential } from './schemas.ts'
import { credentialsOf, deletePasskey, insertPasskey, passkeyById, type NewPasskey, type Passkey } from './store.ts'

/** Ed25519, ECDSA P-256, RSA; the library's default asks for what no runtime of ours can check. */
const ALGORITHMS = [-8, -7, -257]
const TIMEOUT_MS = 5 * 60_000
const MOST = 20

const uuidBytes = (id: string): Uint8Array<ArrayBuffer> => Uint8Array.from(Buffer.from(id.replaceAll('-', ''), 'hex'))

const bad = (): AppError => failedProof('secret', invalidField('credential', 'is not valid, or came too late'))

/**
 * Begins to add a passkey.
 * @throws {InvalidInput} {Unauthenticated} the sign-in is old and the password missing or wrong
 */
export async function passkeyOptions(
  parts: Parts,
  caller: Principal,
  password: string | undefined,
): Promise<CreationOptions> {
  await proveAgainUnlessFresh(parts, caller, password)
  const account = await accountById(parts.db, caller.userId)
  if (!account) throw new NotFound('The user')
  const present = await credentialsOf(parts.db, caller.userId)
  const name = account.email ?? 'account'
  const made = await generateRegistrationOptions({
    rpName: parts.config.APP_NAME,
    rpID: relyingParty(parts.publicUrl).id,
    userName: name,
    userDisplayName: account.full_name ?? name,
    userID: uuidBytes(caller.userId),
    challenge: new Challenges(parts).make(`register ${caller.userId}`),
    timeout: TIMEOUT_MS,
    attestationType: 'none',
    excludeCredentials: present.map(({ credential_id, transports }) => ({
      id: credential_id.toString('base64url'),
      transports,
    })),
    authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
    supportedAlgorithmIDs: ALGORITHMS,
  })
  return {
    challenge: made.challenge,
    rp: { id: made.rp.id ?? '', name: made.rp.name },
    user: made.user,
    pubKeyCredParams: ALGORITHMS.map((alg) => ({ type: 'public-key', alg })),
    timeout: TIMEOUT_MS,
    excludeCredentials: present.map(({ credential_id, transports }) => ({
      type: 'public-key',
      id: credential_id.toString('base64url'),
      transports,
    })),
    authenticatorSelection: { residentKey: 'required', requireResidentKey: true, userVerification: 'required' },
    attestation: 'none',
  }
}

/** What the browser's object proves: a key pair made here and now, by a person who was verified. @throws {InvalidInput} */
async function proven(parts: Parts, userId: string, credential: NewCredential): Promise<Omit<NewPasskey, 'name'>> {
  const { id: expectedRPID, origins: expectedOrigin } = relyingParty(parts.publicUrl)
  const challenges = new Challenges(parts)
  let challenge = ''
  const answer = await verifyRegistrationResponse({
    response: {
      id: credential.id,
      rawId: credential.rawId,
      type: 'public-key',
      clientExtensionResults: {},
      response: {
        clientDataJSON: credential.response.clientDataJSON,
        attestationObject: credential.response.attestationObject,
      },
    },
    expectedChallenge: (text) => {
      challenge = text
      return challenges.isGood(`register ${userId}`, text)
    },
    expectedOrigin,
    expectedRPID,
    requireUserVerification: true,
    supportedAlgorithmIDs: ALGORITHMS,
  }).catch(() => undefined)
  if (!answer?.verified || !(await challenges.take(challenge))) throw bad()
  const { credential: made, credentialBackedUp } = answer.registrationInfo
  return {
    id: newId(),
    userId,
    credentialId: Buffer.from(made.id, 'base64url'),
    publicKey: Buffer.from(made.publicKey),
    signCount: made.counter,
    transports: credential.response.transports ?? [],
    backedUp: credentialBackedUp,
  }
}

/**
 * Adds a passkey; the other sessions end. A repeat of a call that died half-way finds it made: its challenge is used up.
 * @throws {InvalidInput} it does not prove itself {Conflict} it is there already, or there are 20
 */
export async function addPasskey(
  parts: Parts,
  caller: Principal,
  wish: { credential: NewCredential; name: string | undefined },
  requestId: string,
  idempotency: Idempotency | null,
): Promise<Passkey> {
  const found = idempotency?.found ? await passkeyById(parts.db, idempotency.found, caller.userId) : undefined
  if (found) return found
  const passkey = { ...(await proven(parts, caller.userId, wish.credential)), name: wish.name ?? 'Passkey' }
  try {
    const { made, announce } = await parts.db.begin(async (tx) => {
      await lockCaller(tx, caller)
      const made = await insertPasskey(tx, passkey, MOST)
      if (!made) throw new Conflict(`There are ${MOST} passkeys already. Remove one first.`)
      await idempotency?.mark(tx, made.id)
      const change = { mail: 'passkey_added', action: 'user.passkey_added', requestId } as const
      return { made, announce: await factorChanged(parts, tx, caller, change) }
    })
    await announce()
    return made
  } catch (error) {
    if (violatedConstraint(error) === 'passkeys_credential_id_key') throw new Conflict('This passkey is there already.')
    throw error
  }
}

/** Removes a passkey; the other sessions end. @throws {NotFound} also for somebody else's {InvalidInput} {Unauthenticated} */
export async function removePasskey(
  parts: Parts,
  caller: Principal,
  wish: { id: string; password: string | undefined },
  requestId: string,
): Promise<void> {
  await proveAgainUnlessFresh(parts, caller, wish.password)
  const announce = await parts.db.begin(async (tx) => {
    await lockCaller(tx, caller)
    if (!(await deletePasskey(tx, wish.id, caller.userId))) throw new NotFound('The passkey')
    const change = { mail: 'passkey_removed', action: 'user.passkey_removed', requestId } as const
    return factorChanged(parts, tx, caller, change)
  })
  await announce()
}
