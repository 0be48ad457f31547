import assert from 'node:assert/strict'
import { test } from 'node:test'
import { addressesOf, readUplinks } from './exits.ts'

const on = (family: 'IPv4' | 'IPv6', ...addresses: string[]) => addresses.map((address) => ({ address, family }))
const interfaces = {
  lo: [...on('IPv4', '127.0.0.1'), ...on('IPv6', '::1')],
  eth0: [...on('IPv4', '203.0.113.5', '169.254.3.4'), ...on('IPv6', '2001:db8:0:0:1::5', 'fe80::5')],
  'eth0:1': on('IPv4', '203.0.113.6'),
  eth1: on('IPv4', '10.0.0.5'),
  wg0: on('IPv4', '10.77.4.1'),
}
const told = (family: 'IPv4' | 'IPv6', ...routes: object[]) =>
  addressesOf(readUplinks(JSON.stringify(routes)), family, interfaces)

test('the exits are the addresses of the interfaces that default routes use, labels included, and no others', () => {
  assert.deepEqual(told('IPv4', { dst: 'default', gateway: '203.0.113.1', dev: 'eth0', flags: [] }), [
    '203.0.113.5',
    '203.0.113.6',
  ])
  assert.deepEqual(told('IPv6', { dst: 'default', dev: 'eth0', pref: 'medium' }), ['2001:db8::1:0:0:5'])
})

test('a source that the route names comes first; several ways at once count all', () => {
  assert.deepEqual(told('IPv4', { dev: 'eth1', prefsrc: '203.0.113.9' }), ['203.0.113.9', '10.0.0.5'])
  const ways = { dst: 'default', nexthops: [{ dev: 'eth0' }, { dev: 'eth1' }] }
  assert.deepEqual(told('IPv4', ways), ['203.0.113.5', '203.0.113.6', '10.0.0.5'])
})

test('a machine without a way out has no exits', () => {
  assert.deepEqual(told('IPv4'), [])
  assert.deepEqual(addressesOf(readUplinks('\n'), 'IPv6', interfaces), [])
  assert.deepEqual(told('IPv6', { type: 'unreachable', dst: 'default', dev: 'lo' }), [])
})
