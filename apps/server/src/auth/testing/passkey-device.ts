import { createHash, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto'

/** Just enough CBOR (RFC 8949) to write what authenticators write. */
function head(major: number, value: number): Buffer {
  if (value < 24) return Buffer.of((major << 5) | value)
  if (value < 256) return Buffer.of((major << 5) | 24, value)
  return Buffer.of((major << 5) | 25, value >> 8, value & 255)
}
type Cbor = number | string | Buffer | Map<Cbor, Cbor>
function cbor(value: Cbor): Buffer {
  if (typeof value === 'number') return value < 0 ? head(1, -1 - value) : head(0, value)
  if (typeof value === 'string') return Buffer.concat([head(3, Buffer.byteLength(value)), Buffer.from(value)])
  if (Buffer.isBuffer(value)) return Buffer.concat([head(2, value.length), value])
  return Buffer.concat([head(5, value.size), ...[...value].flatMap(([key, item]) => [cbor(key), cbor(item)])])
}

const USER_PRESENT = 0x01
const USER_VERIFIED = 0x04
const ATTESTED = 0x40

export type Circumstances = { origin?: string; challenge?: string; verified?: boolean; rpId?: string; count?: number }

/** A passkey in software: what a phone or a key does, by the text of WebAuthn level 3. */
export class PasskeyDevice {
  readonly id = randomBytes(32)
  readonly #key: KeyObject
  readonly #open: Map<Cbor, Cbor>
  readonly #alg: 'ES256' | 'EdDSA'
  #count = 0
  #userHandle = ''

  constructor(alg: 'ES256' | 'EdDSA' = 'ES256') {
    this.#alg = alg
    const { privateKey, publicKey } =
      alg === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519')
    this.#key = privateKey
    const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
    const at = (text: string) => Buffer.from(text, 'base64url')
    this.#open =
      alg === 'ES256'
        ? new Map<Cbor, Cbor>([
            [1, 2],
            [3, -7],
            [-1, 1],
            [-2, at(x)],
            [-3, at(y)],
          ])
        : new Map<Cbor, Cbor>([
            [1, 1],
            [3, -8],
            [-1, 6],
            [-2, at(x)],
          ])
  }

  #authData(rpId: string, flags: number, count: number, more: Buffer = Buffer.alloc(0)): Buffer {
    const counter = Buffer.alloc(4)
    counter.writeUInt32BE(count)
    return Buffer.concat([createHash('sha256').update(rpId).digest(), Buffer.of(flags), counter, more])
  }

  #clientData(type: string, challenge: string, origin: string): Buffer {
    return Buffer.from(JSON.stringify({ type, challenge, origin, crossOrigin: false }))
  }

  #flags = ({ verified = true }: Circumstances): number => USER_PRESENT | (verified ? USER_VERIFIED : 0)

  create(
    options: { challenge: string; rp: { id: string }; user: { id: string } },
    at: Circumstances & { origin: string },
  ) {
    this.#userHandle = options.user.id
    const length = Buffer.of(this.id.length >> 8, this.id.length & 255)
    const attested = Buffer.concat([Buffer.alloc(16), length, this.id, cbor(this.#open)])
    const authData = this.#authData(at.rpId ?? options.rp.id, this.#flags(at) | ATTESTED, this.#count, attested)
    const attestationObject = cbor(
      new Map<Cbor, Cbor>([
        ['fmt', 'none'],
        ['attStmt', new Map()],
        ['authData', authData],
      ]),
    )
    const clientData = this.#clientData('webauthn.create', at.challenge ?? options.challenge, at.origin)
    return {
      ...this.#named(),
      clientExtensionResults: {},
      response: {
        clientDataJSON: clientData.toString('base64url'),
        attestationObject: attestationObject.toString('base64url'),
        transports: ['internal'],
      },
    }
  }

  get(options: { challenge: string; rpId: string }, at: Circumstances & { origin: string }) {
    this.#count = at.count ?? this.#count + 1
    const authData = this.#authData(at.rpId ?? options.rpId, this.#flags(at), this.#count)
    const clientData = this.#clientData('webauthn.get', at.challenge ?? options.challenge, at.origin)
    const signed = Buffer.concat([authData, createHash('sha256').update(clientData).digest()])
    const signature = sign(this.#alg === 'ES256' ? 'sha256' : null, signed, this.#key)
    return {
      ...this.#named(),
      authenticatorAttachment: 'platform',
      clientExtensionResults: {},
      response: {
        clientDataJSON: clientData.toString('base64url'),
        authenticatorData: authData.toString('base64url'),
        signature: signature.toString('base64url'),
        userHandle: this.#userHandle,
      },
    }
  }

  #named() {
    const id = this.id.toString('base64url')
    return { id, rawId: id, type: 'public-key' as const }
  }
}
