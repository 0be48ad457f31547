import assert from 'node:assert/strict'
import { createHmac, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { keyedHash } from './hmac.ts'

test('it is HMAC-SHA-256, for any key and text', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 64 }),
      fc.array(fc.string({ unit: 'grapheme', maxLength: 60 })),
      (key, texts) => {
        const name = keyedHash(key)
        for (const text of texts) assert.equal(name(text), createHmac('sha256', key).update(text).digest('base64url'))
      },
    ),
    { seed: 3, numRuns: 300 },
  )
})

test('a longer key or text is refused rather than cut', () => {
  assert.throws(() => keyedHash(randomBytes(65)))
  assert.throws(() => keyedHash(randomBytes(32))('ä'.repeat(513)))
  keyedHash(randomBytes(32))('ä'.repeat(512))
})
