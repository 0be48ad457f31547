import assert from 'node:assert/strict'
import { test } from 'node:test'
import { canonicalPrefix, samePrefixes } from './addresses.ts'

test('spellings of one prefix become one', () => {
  assert.equal(canonicalPrefix('FD00:0:0:0::2/128'), 'fd00::2/128')
  assert.equal(canonicalPrefix('10.77.0.2/32'), '10.77.0.2/32')
  assert.equal(canonicalPrefix('::ffff:1.2.3.4/128'), canonicalPrefix('::ffff:102:304/128'))
})

test('what is no prefix is none', () => {
  for (const text of [
    '10.0.0.1',
    '10.0.0.1/33',
    '10.0.0.256/32',
    '::/129',
    'fd00:::1/64',
    '/0',
    '1/2/3',
    '10.0.0.1/-1',
  ])
    assert.equal(canonicalPrefix(text), null, text)
})

test('order and spelling do not make prefixes different, content does', () => {
  assert.ok(samePrefixes(['10.0.0.2/32', 'fd00::2/128'], ['FD00::0:2/128', '10.0.0.2/32']))
  assert.ok(!samePrefixes(['10.0.0.2/32'], ['10.0.0.2/32', 'fd00::2/128']))
  assert.ok(!samePrefixes(['10.0.0.2/32'], ['10.0.0.3/32']))
})
