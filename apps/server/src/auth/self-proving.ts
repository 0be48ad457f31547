import { createHash, randomBytes } from 'node:crypto'
import type { Secrets } from '../platform/secrets.ts'

/**
 * Secrets that prove themselves before any look-up: id, user, 256 random bits, and a MAC over the three. 96 bytes fill
 * whole letters of base64, so there is one spelling; cut, extended or swapped they are none.
 */
export type SelfProvingKind = 'api-token' | 'cookie'

const PREFIX: Record<SelfProvingKind, string> = { 'api-token': 'pvt_', cookie: 'pvc_' }
const UUID_BYTES = 16
const RANDOM_BYTES = 32
const PROVEN_BYTES = 2 * UUID_BYTES + RANDOM_BYTES
const FORM = /^([\w-]{1,64})\.([\w-]{128})$/

export type SelfProven = { id: string; userId: string; hash: Buffer }

const uuidBytes = (id: string): Buffer => Buffer.from(id.replaceAll('-', ''), 'hex')
const uuidText = (bytes: Buffer): string =>
  bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
const purpose = (kind: SelfProvingKind): string => `self-proving ${kind}`
const hashOf = (random: Buffer): Buffer => createHash('sha256').update(random).digest()

/** @returns the text to hand out once, and what of it is stored */
export function makeSelfProving(
  secrets: Secrets,
  kind: SelfProvingKind,
  { id, userId }: { id: string; userId: string },
): { text: string; hash: Buffer } {
  const random = randomBytes(RANDOM_BYTES)
  const proven = Buffer.concat([uuidBytes(id), uuidBytes(userId), random])
  const { keyId, mac } = secrets.tag(purpose(kind), proven)
  const text = `${PREFIX[kind]}${keyId}.${Buffer.concat([proven, mac]).toString('base64url')}`
  return { text, hash: hashOf(random) }
}

export const looksLike = (kind: SelfProvingKind, text: string): boolean => text.startsWith(PREFIX[kind])

/** @returns `unknown-kid` for a key we do not have: it may be lost, so this is no attempt at forgery */
export function readSelfProving(
  secrets: Secrets,
  kind: SelfProvingKind,
  text: string,
): SelfProven | 'forged' | 'unknown-kid' {
  const [, keyId, body] = (looksLike(kind, text) && FORM.exec(text.slice(PREFIX[kind].length))) || []
  if (keyId === undefined || body === undefined) return 'forged'
  const bytes = Buffer.from(body, 'base64url')
  const [proven, mac] = [bytes.subarray(0, PROVEN_BYTES), bytes.subarray(PROVEN_BYTES)]
  const right = secrets.checkTag(purpose(kind), proven, { keyId, mac })
  if (right === undefined) return 'unknown-kid'
  if (!right) return 'forged'
  const [id, userId] = [proven.subarray(0, UUID_BYTES), proven.subarray(UUID_BYTES, 2 * UUID_BYTES)]
  return { id: uuidText(id), userId: uuidText(userId), hash: hashOf(proven.subarray(2 * UUID_BYTES)) }
}
