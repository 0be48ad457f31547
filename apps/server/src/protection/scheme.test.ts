import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { arrivesByHttps } from './scheme.ts'

const asked = (headers: Record<string, string>, encrypted = false) =>
  ({ headers, socket: { encrypted } }) as unknown as IncomingMessage

test('TLS on our own socket is https, whatever a header says', () => {
  assert.equal(arrivesByHttps(asked({ 'x-forwarded-proto': 'http' }, true), false), true)
  assert.equal(arrivesByHttps(asked({}), true), false)
})

test('a trusted proxy tells the scheme it was asked by; the nearest one counts', () => {
  const said = (headers: Record<string, string>) => arrivesByHttps(asked(headers), true)
  assert.equal(said({ 'x-forwarded-proto': 'https' }), true)
  assert.equal(said({ 'x-forwarded-proto': 'https, http' }), false)
  assert.equal(said({ 'x-forwarded-proto': 'http,HTTPS' }), true)
  assert.equal(said({ forwarded: 'for=192.0.2.1;proto=https' }), true)
  assert.equal(said({ forwarded: 'for=192.0.2.1;proto=https, for=192.0.2.2;proto=http' }), false)
  assert.equal(said({ forwarded: 'for="proto=https"' }), false)
})

test('a peer that is not trusted cannot say that it came by https', () => {
  assert.equal(arrivesByHttps(asked({ 'x-forwarded-proto': 'https', forwarded: 'proto=https' }), false), false)
})
