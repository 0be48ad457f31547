import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { InvalidValue } from './errors.ts'
import { generateKeyPair, generatePresharedKey, isPublicKey, isSecretKey, publicKeyOf } from './keys.ts'
import { needs } from './testing/needs.ts'
import { privateKeyObject, publicKeyObject, sharedSecret } from './x25519.ts'

const base64 = (hex: string): string => Buffer.from(hex, 'hex').toString('base64')
const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'))
const hexOf = (b: Uint8Array): string => Buffer.from(b).toString('hex')
/** A number as 32 bytes, little-endian, in hex. */
const element = (n: bigint): string => hexOf(bytes(n.toString(16).padStart(64, '0')).toReversed())

const P = 2n ** 255n - 19n
const HIGH_BIT = 2n ** 255n
/** https://cr.yp.to/ecdh.html#validate: the points of small order, with the two non-canonical spellings below 2^255. */
const SMALL_ORDER = [
  0n,
  1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
  P - 1n,
  P,
  P + 1n,
]

const ALICE = '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'
const ALICE_PUBLIC = '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a'
const BOB = '5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'
const BOB_PUBLIC = 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f'

test('public keys are those of RFC 7748, section 6.1', () => {
  assert.equal(publicKeyOf(base64(ALICE)), base64(ALICE_PUBLIC))
  assert.equal(publicKeyOf(base64(BOB)), base64(BOB_PUBLIC))
})

test('shared secrets are those of RFC 7748, sections 5.2 and 6.1', () => {
  const shared = (mine: string, theirs: string): string =>
    hexOf(sharedSecret(privateKeyObject(bytes(mine)), publicKeyObject(bytes(theirs))))
  const both = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742'
  assert.equal(shared(ALICE, BOB_PUBLIC), both)
  assert.equal(shared(BOB, ALICE_PUBLIC), both)
  assert.equal(
    shared(
      'a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4',
      'e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c',
    ),
    'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
  )
})

test('a generated pair is clamped, canonical and accepted', () => {
  for (let i = 0; i < 50; i++) {
    const { privateKey, publicKey } = generateKeyPair()
    const raw = Buffer.from(privateKey, 'base64')
    assert.equal(raw.readUInt8(0) & 7, 0)
    assert.equal(raw.readUInt8(31) & 192, 64)
    assert.ok(isSecretKey(privateKey))
    assert.ok(isPublicKey(publicKey))
    assert.equal(publicKeyOf(privateKey), publicKey)
  }
})

test('wg derives the same public key', needs('wg'), () => {
  const { privateKey, publicKey } = generateKeyPair()
  assert.equal(execFileSync('wg', ['pubkey'], { input: privateKey, encoding: 'utf8' }).trim(), publicKey)
})

test('no two preshared keys are alike', () => {
  const made = new Set(Array.from({ length: 100 }, generatePresharedKey))
  assert.equal(made.size, 100)
  for (const key of made) assert.ok(isSecretKey(key))
})

test('points of small order are refused in every spelling, and do give an all-zero secret', () => {
  const mine = privateKeyObject(bytes(ALICE))
  for (const point of SMALL_ORDER)
    for (const spelling of [point, point + HIGH_BIT]) {
      assert.equal(isPublicKey(base64(element(spelling))), false, `${spelling}`)
      assert.throws(() => sharedSecret(mine, publicKeyObject(bytes(element(spelling)))))
    }
})

test('field elements are accepted up to p - 2 and refused from p on', () => {
  assert.ok(isPublicKey(base64(element(2n))))
  assert.ok(isPublicKey(base64(element(P - 2n))))
  for (let n = P; n < HIGH_BIT; n++) assert.equal(isPublicKey(base64(element(n))), false)
  assert.equal(isPublicKey(base64(element(9n + HIGH_BIT))), false, 'a second spelling of the base point')
})

test('a key has one spelling: other base64 of the same bytes is refused', () => {
  const good = base64(ALICE_PUBLIC)
  assert.ok(isPublicKey(good))
  const last = good.slice(-2, -1)
  const next = String.fromCharCode(last.charCodeAt(0) + 1)
  const others = [
    good.slice(0, -1),
    `${good}=`,
    `${good}\n`,
    ` ${good}`,
    `${good.slice(0, 20)}\n${good.slice(20)}`,
    `${good.slice(0, -2)}${next}=`, // the two bits behind the last byte are set
    good.replaceAll('+', '-').replaceAll('/', '_').replace(/^./, '-'),
    '',
    base64(`${ALICE_PUBLIC}00`),
    base64(ALICE_PUBLIC.slice(2)),
  ]
  for (const text of others) {
    assert.equal(isPublicKey(text), false, JSON.stringify(text))
    assert.equal(isSecretKey(text), false, JSON.stringify(text))
  }
  assert.deepEqual(Buffer.from(`${good.slice(0, -2)}${next}=`, 'base64'), Buffer.from(good, 'base64'))
})

test('deriving from something that is no key throws and does not repeat it', () => {
  assert.throws(
    () => publicKeyOf('secret words'),
    (err) => err instanceof InvalidValue && err.field === 'privateKey' && !err.message.includes('secret words'),
  )
})
