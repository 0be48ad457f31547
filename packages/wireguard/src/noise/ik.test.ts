import assert from 'node:assert/strict'
import { test } from 'node:test'
import { privateKeyObject, rawPublicKey } from '../x25519.ts'
import { PROTOCOL, readFirst, readSecond, writeFirst, writeSecond } from './ik.ts'
import { hash, kdf, mac, seal, SymmetricState, unseal } from './symmetric.ts'

const bytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'))
const hexOf = (b: Uint8Array): string => Buffer.from(b).toString('hex')
const text = (s: string): Uint8Array => new TextEncoder().encode(s)

test('BLAKE2s gives the digest of RFC 7693, appendix B', () => {
  assert.equal(hexOf(hash(text('a'), text('bc'))), '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982')
})

test('keyed BLAKE2s with 16 bytes differs from the first half of the 32-byte digest', () => {
  // The length is part of BLAKE2s's parameters: cutting a longer digest off would be another function.
  const key = new Uint8Array(32)
  assert.equal(mac(key, text('x')).length, 16)
  assert.notEqual(hexOf(mac(key, text('x'))), hexOf(hash(text('x')).subarray(0, 16)))
})

test('sealing with a 64-bit counter gives the example of RFC 8439, appendix A.5', () => {
  const key = bytes('1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0')
  const ad = bytes('f33388860000000000004e91')
  const plain = text(
    'Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or obsoleted ' +
      'by other documents at any time. It is inappropriate to use Internet-Drafts as reference material or to cite them ' +
      'other than as /“work in progress./”',
  )
  const sealed = seal(key, 0x0807060504030201n, plain, ad)
  assert.equal(hexOf(sealed.subarray(0, 16)), '64a0861575861af460f062c79be643bd')
  assert.equal(hexOf(sealed.subarray(-16)), 'eead9d67890cbb22392336fea1851f38')
  assert.deepEqual(unseal(key, 0x0807060504030201n, sealed, ad), plain)
  assert.throws(() => unseal(key, 0x0807060504030202n, sealed, ad))
})

test('a key derivation of two outputs is the beginning of one of three', () => {
  const [key, input] = [text('key'), text('input')]
  assert.deepEqual(kdf(key, input, 2), kdf(key, input, 3).slice(0, 2))
})

/**
 * The vector of this protocol in the set of cacophony, which snow and noise-c are tested with too:
 * https://github.com/haskell-cryptography/cacophony/blob/master/vectors/cacophony.txt
 */
const VECTOR = {
  prologue: bytes('4a6f686e2047616c74'),
  psk: bytes('54686973206973206d7920417573747269616e20706572737065637469766521'),
  initiatorStatic: 'e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1',
  initiatorEphemeral: '893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a',
  responderPublic: '31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62',
  responderStatic: '4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893',
  responderEphemeral: 'bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b',
  // The file prints the hash before the second payload here; this is the one after it, as the specification asks (5.3).
  handshakeHash: 'f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5',
  first: {
    payload: bytes('4c756477696720766f6e204d69736573'),
    message:
      'ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb56253c9c94a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985464cf17e51ee93109008399a21f7e13f',
  },
  second: {
    payload: bytes('4d757272617920526f746862617264'),
    message:
      '95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab0322217755c0632f365717edbf34d33e87a',
  },
  transport: [
    ['462e20412e20486179656b', '8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7'],
    ['4361726c204d656e676572', '07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef'],
    ['4a65616e2d426170746973746520536179', '6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d'],
    [
      '457567656e2042f6686d20766f6e2042617765726b',
      'dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292',
    ],
  ] as const,
}

const initiator = {
  statics: privateKeyObject(bytes(VECTOR.initiatorStatic)),
  ephemeral: privateKeyObject(bytes(VECTOR.initiatorEphemeral)),
  psk: VECTOR.psk,
}
const responder = {
  statics: privateKeyObject(bytes(VECTOR.responderStatic)),
  ephemeral: privateKeyObject(bytes(VECTOR.responderEphemeral)),
  psk: VECTOR.psk,
}

test('a whole handshake of IKpsk2 equals the published vector, byte by byte, on both sides', () => {
  const mine = new SymmetricState(PROTOCOL, VECTOR.prologue)
  const theirs = new SymmetricState(PROTOCOL, VECTOR.prologue)

  const first = writeFirst(mine, initiator, bytes(VECTOR.responderPublic), VECTOR.first.payload)
  assert.equal(hexOf(first), VECTOR.first.message)
  const read = readFirst(theirs, responder, first)
  assert.deepEqual(read.initiator, rawPublicKey(initiator.statics))
  assert.deepEqual(read.payload, VECTOR.first.payload)

  const second = writeSecond(theirs, responder, read, VECTOR.second.payload)
  assert.equal(hexOf(second), VECTOR.second.message)
  assert.deepEqual(readSecond(mine, initiator, second), VECTOR.second.payload)

  assert.equal(hexOf(mine.handshakeHash), VECTOR.handshakeHash)
  assert.equal(hexOf(theirs.handshakeHash), VECTOR.handshakeHash)

  const { forward, back } = mine.split()
  assert.deepEqual(theirs.split(), { forward, back })
  VECTOR.transport.forEach(([payload, sealed], i) => {
    const key = i % 2 === 0 ? forward : back
    assert.equal(hexOf(seal(key, BigInt(i >> 1), bytes(payload))), sealed)
  })
})

test('another preshared key, static key or prologue is found out', () => {
  const other = privateKeyObject(bytes(VECTOR.responderEphemeral))
  const shake = (o: { psk?: Uint8Array; statics?: typeof other; prologue?: Uint8Array }): void => {
    const mine = new SymmetricState(PROTOCOL, VECTOR.prologue)
    const theirs = new SymmetricState(PROTOCOL, o.prologue ?? VECTOR.prologue)
    const they = { ...responder, psk: o.psk ?? VECTOR.psk, statics: o.statics ?? responder.statics }
    const first = writeFirst(mine, initiator, bytes(VECTOR.responderPublic), text('hello'))
    readSecond(mine, initiator, writeSecond(theirs, they, readFirst(theirs, they, first), text('hi')))
  }
  shake({})
  assert.throws(() => shake({ psk: new Uint8Array(32) }), { code: 'HANDSHAKE_FAILED' })
  assert.throws(() => shake({ statics: other }), { code: 'HANDSHAKE_FAILED' })
  assert.throws(() => shake({ prologue: text('another') }), { code: 'HANDSHAKE_FAILED' })
})

test('a small-order point in place of a key fails instead of giving a secret everybody knows', () => {
  const state = new SymmetricState(PROTOCOL, VECTOR.prologue)
  assert.throws(() => writeFirst(state, initiator, new Uint8Array(32), text('x')), { code: 'HANDSHAKE_FAILED' })
})
