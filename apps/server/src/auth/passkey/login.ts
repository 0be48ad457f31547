import { generateAuthenticationOptions, verifyAuthenticationResponse } from '@simplewebauthn/server'
import { credentialsById } from '../../accounts/index.ts'
import { Unauthenticated } from '../../platform/errors.ts'
import { failedProof } from '../failed-proof.ts'
import type { Caller } from '../factor/prove.ts'
import type { Parts } from '../parts.ts'
import { mailProofAgain, mayEnter, type Proven } from '../prove.ts'
import { Challenges } from './challenge.ts'
import { relyingParty } from './relying-party.ts'
import type { Assertion, RequestOptions } from './schemas.ts'
import { credentialById, noteUse, type StoredCredential } from './store.ts'

const TIMEOUT_MS = 5 * 60_000

const refused = () => failedProof('secret', new Unauthenticated('The passkey was not accepted.'))

/** Asks for any passkey of ours: nothing tells which accounts have one. */
export async function passkeySignInOptions(parts: Parts): Promise<RequestOptions> {
  const { id: rpID } = relyingParty(parts.publicUrl)
  const challenge = new Challenges(parts).make('login')
  const made = await generateAuthenticationOptions({
    rpID,
    challenge,
    timeout: TIMEOUT_MS,
    userVerification: 'required',
  })
  return { challenge: made.challenge, rpId: rpID, timeout: TIMEOUT_MS, userVerification: 'required' }
}

/** The user handle, where one is sent, names the passkey's own user. */
function isOwners(stored: StoredCredential, userHandle: string | null | undefined): boolean {
  if (userHandle === null || userHandle === undefined) return true
  return Buffer.from(userHandle, 'base64url').toString('hex') === stored.user_id.replaceAll('-', '')
}

/** Whether the object is signed by the stored key for a challenge of ours, once. */
async function isProven(parts: Parts, stored: StoredCredential, assertion: Assertion): Promise<boolean> {
  const { id: expectedRPID, origins: expectedOrigin } = relyingParty(parts.publicUrl)
  const challenges = new Challenges(parts)
  let challenge = ''
  const { clientDataJSON, authenticatorData, signature } = assertion.response
  const answer = await verifyAuthenticationResponse({
    response: {
      id: assertion.id,
      rawId: assertion.rawId,
      type: 'public-key',
      clientExtensionResults: {},
      response: { clientDataJSON, authenticatorData, signature },
    },
    expectedChallenge: (text) => {
      challenge = text
      return challenges.isGood('login', text)
    },
    expectedOrigin,
    expectedRPID,
    credential: {
      id: stored.credential_id.toString('base64url'),
      publicKey: Uint8Array.from(stored.public_key),
      counter: Number(stored.sign_count),
    },
    requireUserVerification: true,
  }).catch(() => undefined)
  if (!answer?.verified || !(await challenges.take(challenge))) return false
  const { newCounter, credentialBackedUp } = answer.authenticationInfo
  return noteUse(parts.db, stored.id, newCounter, credentialBackedUp)
}

/**
 * Proves an account by a passkey. The device has verified its user, so that it is what one has and what one knows or is:
 * both factors at once.
 * @throws {Unauthenticated} the same whatever is wrong
 */
export async function provePasskey(parts: Parts, assertion: Assertion, caller: Caller): Promise<Proven> {
  const stored = await credentialById(parts.db, Buffer.from(assertion.id, 'base64url'))
  const account = stored && (await credentialsById(parts.db, stored.user_id))
  const right =
    stored !== undefined &&
    isOwners(stored, assertion.response.userHandle) &&
    (await isProven(parts, stored, assertion))
  if (!account || !right || !mayEnter(parts, account)) {
    caller.log.warn({ user_id: account?.id ?? null }, 'sign-in refused')
    if (account && right) mailProofAgain(parts, account)
    throw refused()
  }
  return { account, mustChangePassword: false, factorProven: true, passkeyId: stored.id }
}
