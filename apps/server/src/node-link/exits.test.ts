import assert from 'node:assert/strict'
import { test } from 'node:test'
import { soundExits } from './exits.ts'

const PUBLIC = ['203.0.113.7', '1.2.3.4', '2001:db8::1', '2a01:4f8::1']
const PRIVATE = ['10.0.0.9', '172.16.3.4', '192.168.1.1', '100.64.0.1', 'fd00::7']
const NEVER = ['0.0.0.0', '127.0.0.1', '169.254.1.1', '224.0.0.1', '255.255.255.255', '::', '::1', 'fe80::1', 'ff02::1']
const MAPPED = ['::ffff:cb00:7107', '::ffff:7f00:1']

test('public exits count, private ones only with a server in a private network, others never', () => {
  const told = [...NEVER, ...PUBLIC, ...MAPPED, ...PRIVATE]
  assert.deepEqual(soundExits(told, '192.0.2.1'), PUBLIC)
  assert.deepEqual(soundExits(told, '10.5.0.1'), [...PUBLIC, ...PRIVATE])
  assert.deepEqual(soundExits(told, 'fd00::1'), [...PUBLIC, ...PRIVATE])
})
