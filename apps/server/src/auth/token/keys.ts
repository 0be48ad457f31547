import { createHmac, createPrivateKey, createPublicKey, createSecretKey, type KeyObject } from 'node:crypto'
import type { Config } from '../../platform/config/index.ts'
import type { Secrets } from '../../platform/secrets.ts'

/** The open half of an Ed25519 key as it is published (RFC 8037). */
export type PublicJwk = { kty: string; crv: string; x: string; kid: string; alg: string; use: string }

/** The keys of access tokens: one algorithm, a fixed map of ids; nothing in a token can add to it. */
export type TokenKeys = {
  algorithm: 'EdDSA' | 'HS256'
  signing: { id: string; key: KeyObject }
  verifying: ReadonlyMap<string, KeyObject>
  /** What is published: with HS256 what verifies id_tokens, which are Ed25519 always. */
  jwks: { keys: PublicJwk[] }
}

function hmacKeys(secret: string, idTokens: TokenKeys): TokenKeys {
  const key = createSecretKey(Buffer.from(secret))
  const id = createHmac('sha256', secret).update('prime-vpn/kid').digest('base64url').slice(0, 11)
  return { algorithm: 'HS256', signing: { id, key }, verifying: new Map([[id, key]]), jwks: idTokens.jwks }
}

function published(id: string, key: KeyObject): PublicJwk {
  const { kty = '', crv = '', x = '' } = key.export({ format: 'jwk' })
  return { kty, crv, x, kid: id, alg: 'EdDSA', use: 'sig' }
}

/** Ed25519 keys from the secrets file, newest first; older ones still verify what they signed. */
function ed25519Keys(secrets: Secrets): TokenKeys {
  const all = secrets.tokenSigning.map(({ id, private_jwk }) => {
    const key = createPrivateKey({ key: private_jwk, format: 'jwk' })
    if (key.asymmetricKeyType !== 'ed25519') throw new Error('a token key of the secrets file is not Ed25519')
    return { id, key, open: createPublicKey(key) }
  })
  const [newest] = all
  if (!newest) throw new Error('the secrets file has no token key')
  return {
    algorithm: 'EdDSA',
    signing: newest,
    verifying: new Map(all.map(({ id, open }) => [id, open])),
    jwks: { keys: all.map(({ id, open }) => published(id, open)) },
  }
}

/** @throws when the configuration asks for HS256 and has no secret */
export function tokenKeys(config: Pick<Config, 'JWT_ALGORITHM' | 'JWT_SECRET_KEY'>, secrets: Secrets): TokenKeys {
  if (config.JWT_ALGORITHM === 'EdDSA') return ed25519Keys(secrets)
  if (config.JWT_SECRET_KEY === undefined) throw new Error('JWT_ALGORITHM=HS256 needs JWT_SECRET_KEY')
  return hmacKeys(config.JWT_SECRET_KEY, ed25519Keys(secrets))
}
