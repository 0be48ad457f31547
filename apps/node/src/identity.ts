import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'
import { join } from 'node:path'
import { linkProof } from '@prime-vpn/node-protocol'
import { generateKeyPair, isSecretKey, publicKeyOf } from '@prime-vpn/wireguard'
import { z } from 'zod'
import { FILES, readIfThere, writeWhole } from './data-dir.ts'
import { CannotRun } from './failures.ts'

const SecretKey = z.string().refine(isSecretKey)

/** Who this node is. Both private keys are made here and never leave the machine. */
export const Identity = z.strictObject({
  control_url: z.url(),
  interface: z.string(),
  backend: z.enum(['auto', 'kernel', 'userspace']),
  /** WireGuard private key, base64. */
  wireguard_key: SecretKey,
  /** The key before it, while a rotation may not have reached the interface. */
  former_key: SecretKey.nullable(),
  /** Ed25519 private key, PKCS#8 DER in base64. */
  identity_key: z.base64(),
  /** SHA-256 of the enrolment token last used: the same command run again joins once. */
  token_digest: z.string().regex(/^[0-9a-f]{64}$/),
  /** What the control plane answered; null until it has. */
  enrolled: z
    .strictObject({ node_id: z.uuid(), server_id: z.uuid(), installation: z.uuid(), hostname: z.string() })
    .nullable(),
})
export type Identity = z.infer<typeof Identity>
export type Enrolled = Identity & { enrolled: NonNullable<Identity['enrolled']> }

/** New keys for a node that has not enrolled yet. */
export function newIdentity(o: Pick<Identity, 'control_url' | 'interface' | 'backend' | 'token_digest'>): Identity {
  const { privateKey } = generateKeyPairSync('ed25519')
  const der = privateKey.export({ type: 'pkcs8', format: 'der' })
  return {
    ...o,
    wireguard_key: generateKeyPair().privateKey,
    former_key: null,
    identity_key: der.toString('base64'),
    enrolled: null,
  }
}

/** @throws {CannotRun} the file is damaged; it is never replaced by itself, for it holds the only copy of the keys */
export async function loadIdentity(dir: string): Promise<Identity | null> {
  const text = await readIfThere(dir, FILES.identity)
  if (text === null) return null
  try {
    return Identity.parse(JSON.parse(text))
  } catch (error) {
    throw new CannotRun(`${join(dir, FILES.identity)} is damaged; restore it, or remove it and join again`, error)
  }
}

export const saveIdentity = (dir: string, identity: Identity): Promise<void> =>
  writeWhole(join(dir, FILES.identity), `${JSON.stringify(identity, null, 2)}\n`)

/** The public halves, as the control plane knows them. */
export const publicKeys = (i: Identity): { wireguard: string; identity: string } => ({
  wireguard: publicKeyOf(i.wireguard_key),
  identity: rawPublic(createPublicKey(privateKey(i))),
})

/** The proof for one link (messages.ts, `linkProof`): Ed25519, base64. */
export const proveLink = (i: Enrolled, installation: string, nonce: string): string =>
  sign(null, linkProof(installation, nonce, i.enrolled.node_id), privateKey(i)).toString('base64')

export const digestOf = (token: string): string => createHash('sha256').update(token).digest('hex')

const privateKey = (i: Identity): KeyObject =>
  createPrivateKey({ key: Buffer.from(i.identity_key, 'base64'), format: 'der', type: 'pkcs8' })

/** The last 32 bytes of an Ed25519 SubjectPublicKeyInfo are the key itself (RFC 8410, section 4). */
const rawPublic = (key: KeyObject): string =>
  key.export({ type: 'spki', format: 'der' }).subarray(-32).toString('base64')
