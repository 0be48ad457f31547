import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createSecretKey,
  generateKeyPairSync,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
  type JsonWebKey,
  type KeyObject,
} from 'node:crypto'
import { link, mkdir, open, readFile, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { z } from 'zod'

/** One key of the file: the first of a kind is used for writing, the others still read what they wrote. */
const SymmetricKey = z.strictObject({ id: z.string().min(1).max(64), key: z.base64() })
const SigningKey = z.strictObject({ id: z.string().min(1).max(64), private_jwk: z.record(z.string(), z.string()) })
const SecretsFile = z.strictObject({
  seal: z.array(SymmetricKey).min(1),
  mac: z.array(SymmetricKey).min(1),
  token_signing: z.array(SigningKey).min(1),
})
type SecretsFile = z.infer<typeof SecretsFile>

const newId = (): string => randomBytes(6).toString('base64url')
const newKey = (): { id: string; key: string } => ({ id: newId(), key: randomBytes(32).toString('base64') })

function generate(): SecretsFile {
  const { privateKey } = generateKeyPairSync('ed25519')
  const jwk = privateKey.export({ format: 'jwk' })
  return {
    seal: [newKey()],
    mac: [newKey()],
    token_signing: [{ id: newId(), private_jwk: jwk as Record<string, string> }],
  }
}

/** Everything secret that this installation made for itself. */
export class Secrets {
  readonly #file: SecretsFile
  constructor(file: SecretsFile) {
    this.#file = file
  }

  /** Names this set of secrets without telling them; the database holds it so that two instances cannot differ. */
  get fingerprint(): string {
    const first = [this.#file.seal.at(-1)?.key, this.#file.mac.at(-1)?.key].join('.')
    return createHash('sha256').update(`prime-secrets.${first}`).digest('base64url')
  }

  /** The keys that sign access tokens, newest first. */
  get tokenSigning(): readonly { id: string; private_jwk: JsonWebKey }[] {
    return this.#file.token_signing
  }

  /** A 32-byte key for one purpose, derived by HKDF-SHA-256 (RFC 5869) from the newest seal key. */
  derive(purpose: string, salt: Uint8Array = new Uint8Array()): Buffer {
    return this.#derive(this.#file.seal[0], purpose, salt)
  }

  /** Keys without salt are few and asked for often: each is derived once. */
  readonly #derived = new Map<string, Buffer>()

  #derive(from: { id: string; key: string } | undefined, purpose: string, salt: Uint8Array): Buffer {
    if (!from) throw new Error('no such seal key')
    const known = salt.length === 0 ? this.#derived.get(`${from.id} ${purpose}`) : undefined
    if (known) return known
    const key = Buffer.from(hkdfSync('sha256', Buffer.from(from.key, 'base64'), salt, `prime-vpn/${purpose}`, 32))
    if (salt.length === 0) this.#derived.set(`${from.id} ${purpose}`, key)
    return key
  }

  /** HMAC-SHA-256 for look-ups of low-entropy values (e-mail, address) that must not be readable. */
  mac(purpose: string, text: string | Uint8Array): Buffer {
    return createHmac('sha256', this.#macKey).update(`${purpose}\0`).update(text).digest()
  }

  /** As a key object: making it anew from bytes costs more than the MAC itself. */
  get #macKey(): KeyObject {
    const [first] = this.#file.mac
    if (!first) throw new Error('no mac key')
    return (this.#madeMacKey ??= createSecretKey(Buffer.from(first.key, 'base64')))
  }
  #madeMacKey: KeyObject | undefined

  /** A MAC that still proves itself when the key was replaced: the key's id stands beside it. */
  tag(purpose: string, text: Uint8Array): { keyId: string; mac: Buffer } {
    const from = this.#file.mac[0]
    if (!from) throw new Error('no mac key')
    return { keyId: from.id, mac: this.mac(purpose, text) }
  }

  /** Checks in constant time what `tag` made. @returns undefined when its key is none of ours, or lost */
  checkTag(purpose: string, text: Uint8Array, tag: { keyId: string; mac: Uint8Array }): boolean | undefined {
    const from = this.#file.mac.find(({ id }) => id === tag.keyId)
    if (!from) return undefined
    const due = createHmac('sha256', Buffer.from(from.key, 'base64')).update(`${purpose}\0`).update(text).digest()
    return due.length === tag.mac.length && timingSafeEqual(due, tag.mac)
  }

  /**
   * Encrypts with AES-256-GCM under a key of its own purpose. Layout: id length, key id, 12-byte nonce, tag, text.
   * @param binding what the text belongs to (a row's id): a sealed value moved to another row does not open
   */
  seal(purpose: string, binding: string, text: Uint8Array, salt?: Uint8Array): Buffer {
    const key = this.#file.seal[0]
    const nonce = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', this.#derive(key, purpose, salt ?? new Uint8Array()), nonce)
    cipher.setAAD(Buffer.from(binding))
    const body = Buffer.concat([cipher.update(text), cipher.final()])
    const id = Buffer.from(key?.id ?? '')
    return Buffer.concat([Buffer.from([id.length]), id, nonce, cipher.getAuthTag(), body])
  }

  /** Opens what `seal` made. @throws when it was changed, belongs elsewhere, or its key is gone */
  open(purpose: string, binding: string, sealed: Uint8Array, salt?: Uint8Array): Buffer {
    const data = Buffer.from(sealed)
    const idEnd = 1 + (data[0] ?? 0)
    const id = data.subarray(1, idEnd).toString()
    const key = this.#file.seal.find((k) => k.id === id)
    const decipher = createDecipheriv(
      'aes-256-gcm',
      this.#derive(key, purpose, salt ?? new Uint8Array()),
      data.subarray(idEnd, idEnd + 12),
      { authTagLength: 16 },
    )
    decipher.setAAD(Buffer.from(binding))
    decipher.setAuthTag(data.subarray(idEnd + 12, idEnd + 28))
    return Buffer.concat([decipher.update(data.subarray(idEnd + 28)), decipher.final()])
  }
}

/** Fresh secrets in memory only, for tests. */
export const throwawaySecrets = (): Secrets => new Secrets(generate())

/** Makes the file once (0600), also when several processes start together: the first link wins. */
export async function initSecrets(path: string): Promise<'made' | 'present'> {
  // Passable, so that the embedded database, which never runs as root, reaches its own folder below; the file is 0600.
  await mkdir(dirname(path), { recursive: true, mode: 0o711 })
  const draft = `${path}.${process.pid}.${newId()}`
  const file = await open(draft, 'wx', 0o600)
  try {
    await file.writeFile(JSON.stringify(generate(), null, 2))
    await file.sync()
  } finally {
    await file.close()
  }
  try {
    await link(draft, path)
    return 'made'
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return 'present'
    throw error
  } finally {
    await rm(draft, { force: true })
  }
}

/** Reads the secrets. @throws a readable message when the file is not ours to trust */
export async function loadSecrets(path: string): Promise<Secrets> {
  const info = await stat(path).catch(() => undefined)
  if (!info) throw new Error(`${path} is missing. Make it once with: prime keys init`)
  if (info.mode & 0o077) throw new Error(`${path} can be read by others: chmod 600 it`)
  let parsed: unknown
  try {
    parsed = JSON.parse(await readFile(path, 'utf8'))
  } catch {
    throw new Error(`${path} is not valid JSON`)
  }
  const file = SecretsFile.safeParse(parsed)
  if (!file.success) throw new Error(`${path} is not a secrets file of Prime VPN`)
  return new Secrets(file.data)
}
