import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { test } from 'node:test'
import { canonicalCidr, formatAddress, formatCidr, networkOf, overlaps, parseAddress, parseCidr } from './addresses.ts'
import { InvalidValue } from './errors.ts'

const canonical = (text: string): string => {
  const { family, value } = parseAddress(text)
  return formatAddress(family, value)
}

test('IPv6 text is that of RFC 5952', () => {
  const examples: Record<string, string> = {
    '2001:0db8::0001': '2001:db8::1',
    '2001:db8:0:0:0:0:2:1': '2001:db8::2:1',
    '2001:db8::1:1:1:1:1': '2001:db8:0:1:1:1:1:1', // one zero group is not shortened
    '2001:db8:0:0:1:0:0:1': '2001:db8::1:0:0:1', // the first of two equal runs
    '2001:0:0:1:0:0:0:1': '2001:0:0:1::1', // the longest run
    '2001:DB8::AbCd': '2001:db8::abcd',
    '0:0:0:0:0:0:0:0': '::',
    '::1': '::1',
    '1::': '1::',
    'fe80:0:0:0:0:0:0:0': 'fe80::',
    '::ffff:c000:201': '::ffff:192.0.2.1',
    '64:ff9b::192.0.2.33': '64:ff9b::c000:221',
  }
  for (const [text, wanted] of Object.entries(examples)) assert.equal(canonical(text), wanted)
})

test('IPv6 text equals that of the URL standard, apart from mapped IPv4', () => {
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const mine = canonical(text)
      if (!mine.startsWith('::ffff:') || !mine.includes('.'))
        assert.equal(`[${mine}]`, new URL(`http://[${text}]/`).hostname)
    }),
  )
})

test('an address survives being written and read', () => {
  const any = fc.oneof(
    fc.record({ family: fc.constant(4 as const), value: fc.bigInt(0n, 2n ** 32n - 1n) }),
    fc.record({ family: fc.constant(6 as const), value: fc.bigInt(0n, 2n ** 128n - 1n) }),
  )
  fc.assert(
    fc.property(any, ({ family, value }) =>
      assert.deepEqual(parseAddress(formatAddress(family, value)), { family, value }),
    ),
  )
})

test('what is not exactly an address or a network is refused', () => {
  for (const text of [
    '',
    '10.0.0',
    '10.0.0.256',
    '010.0.0.1',
    '1.2.3.4\n',
    ' ::1',
    'fe80::1%eth0',
    ':::',
    '1:2',
    'host',
  ])
    assert.throws(() => parseAddress(text), InvalidValue, JSON.stringify(text))
  for (const text of [
    '10.0.0.0',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/08',
    '::/129',
    '::/1/2',
    '::/',
    '::/64\n',
    '/0',
  ])
    assert.throws(() => parseCidr(text), InvalidValue, JSON.stringify(text))
})

test('a refusal names the field and not the value', () => {
  assert.throws(
    () => parseAddress('192.168.77.300', 'dns'),
    (err) => err instanceof InvalidValue && err.field === 'dns' && !err.message.includes('300'),
  )
})

test('clearing host bits gives the network that holds the address', () => {
  assert.equal(formatCidr(networkOf(parseCidr('10.77.5.9/22'))), '10.77.4.0/22')
  assert.equal(formatCidr(networkOf(parseCidr('2001:db8::1/64'))), '2001:db8::/64')
  assert.equal(formatCidr(networkOf(parseCidr('1.2.3.4/0'))), '0.0.0.0/0')
  assert.equal(canonicalCidr('FD00:0::2/128'), 'fd00::2/128')
})

test('networks overlap exactly when one holds the first address of the other', () => {
  const net = fc
    .tuple(fc.bigInt(0n, 255n), fc.integer({ min: 24, max: 32 }))
    .map(([host, prefix]) => networkOf({ family: 4, value: 0x0a000000n + host, prefix }))
  const size = (prefix: number): bigint => 1n << BigInt(32 - prefix)
  fc.assert(
    fc.property(net, net, (a, b) => {
      const apart = a.value + size(a.prefix) <= b.value || b.value + size(b.prefix) <= a.value
      assert.equal(overlaps(a, b), !apart)
    }),
  )
  assert.equal(overlaps(parseCidr('0.0.0.0/0'), parseCidr('::/0')), false)
})
