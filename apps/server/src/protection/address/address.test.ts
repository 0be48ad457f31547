import assert from 'node:assert/strict'
import { isIPv4 } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { addressText, contains, networkOf, networkText, parseAddress, parseNetwork } from './address.ts'
import { clientBehind, parseHop } from './forwarded.ts'
import { NetworkMap } from './network-map.ts'

const text = (written: string): string | null => {
  const address = parseAddress(written)
  return address && addressText(address)
}

test('addresses are read strictly and written in one spelling', () => {
  const spellings: [string, string | null][] = [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['0:0:0:0:0:FFFF:192.0.2.1', '192.0.2.1'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['2001:db8::192.0.2.33', '2001:db8::c000:221'],
    ['1:2:3:4:5:6:7:8', '1:2:3:4:5:6:7:8'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
  ]
  for (const [written, expected] of spellings) assert.equal(text(written), expected, written)
})

test('what is no address is refused: zone ids, other bases, short forms, blanks, garbage', () => {
  const torture = [
    '', ' ', '1', '1.2.3', '1.2.3.4.5', '256.1.1.1', '1.2.3.256', '01.2.3.4', '0x7f.0.0.1', '0177.0.0.1', '2130706433',
    '127.1', ' 192.0.2.1', '192.0.2.1 ', '192.0.2.1\n', '192.0.2.1\0', '192.0.2.1/32', '192.0.2.1:80', '-1.2.3.4',
    '1.2.3.４', 'fe80::1%eth0', '::1%1', '%', '::1%', ':::', '1::2::3', '12345::', 'g::', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9',
    '[::1]', '::ffff:256.0.0.1', '::ffff:1.2.3', '::1.2.3.4.5', 'localhost', 'unknown', '_hidden', 'null', 'undefined',
    '192.0.2.1,192.0.2.2', "'192.0.2.1'", '"192.0.2.1"', '::' + '0'.repeat(60), 'a'.repeat(10_000), '1.1.1.1;drop', '٣.1.1.1',
  ] // prettier-ignore
  for (const written of torture) assert.equal(parseAddress(written), null, JSON.stringify(written))
})

test('any text and any address in any spelling is read or refused without a fault', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.ipV4(), fc.ipV6()), (written) => {
      const address = parseAddress(written)
      if (address) assert.deepEqual(parseAddress(addressText(address)), address)
    }),
    { seed: 1, numRuns: 3_000 },
  )
})

test('IPv4 is read as the system reads it', () => {
  const part = fc.oneof(fc.nat(300).map(String), fc.constantFrom('', '0', '00', '01', '255', '256', '1e1', ' 1', '-1'))
  fc.assert(
    fc.property(fc.array(part, { minLength: 3, maxLength: 5 }), (parts) => {
      const written = parts.join('.')
      assert.equal(parseAddress(written) !== null, isIPv4(written), written)
    }),
    { seed: 4, numRuns: 3_000 },
  )
})

test('networks: host bits go, mapped blocks are IPv4, bad lengths are refused', () => {
  const written = (cidr: string): string | null => {
    const network = parseNetwork(cidr)
    return network && networkText(network)
  }
  assert.equal(written('10.1.2.3/8'), '10.0.0.0/8')
  assert.equal(written('192.0.2.1'), '192.0.2.1')
  assert.equal(written('2001:db8:1:2:3::/48'), '2001:db8:1::/48')
  assert.equal(written('2001:db8::1/128'), '2001:db8::1')
  assert.equal(written('::ffff:10.0.0.0/104'), '10.0.0.0/8')
  assert.equal(written('0.0.0.0/0'), '0.0.0.0/0')
  assert.equal(written('::/0'), '::/0')
  for (const bad of [
    '10.0.0.0/33',
    '::1/129',
    '10.0.0.0/-1',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '/8',
    '10.0.0.0/a',
    '::ffff:10.0.0.0/8',
  ])
    assert.equal(parseNetwork(bad), null, bad)
})

test('the map finds the longest block that holds an address, as looking at each would', () => {
  const cidr = fc.oneof(
    fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })),
    fc.tuple(fc.ipV6(), fc.integer({ min: 0, max: 128 })),
  )
  fc.assert(
    fc.property(fc.array(cidr, { maxLength: 12 }), fc.oneof(fc.ipV4(), fc.ipV6()), (cidrs, ip) => {
      const address = parseAddress(ip)
      assert.ok(address)
      const networks = cidrs.flatMap(([host, length]) => {
        const inside = parseAddress(host)
        return inside ? [networkOf(inside, Math.min(length, inside.family === 4 ? 32 : 128))] : []
      })
      const map = new NetworkMap<string>()
      for (const network of networks) map.set(network, networkText(network))
      const own = networkOf(address, address.family === 4 ? 32 : 128)
      const expected = networks.filter((n) => contains(n, own)).toSorted((a, b) => b.length - a.length)[0]
      assert.equal(map.find(address), expected && networkText(expected))
      for (const network of networks) map.delete(network)
      assert.equal(map.size, 0)
    }),
    { seed: 2, numRuns: 500 },
  )
})

const trusted = (...cidrs: string[]) => {
  const map = new NetworkMap<true>()
  for (const cidr of cidrs) {
    const network = parseNetwork(cidr)
    assert.ok(network)
    map.set(network, true)
  }
  return (address: { family: 4 | 6; words: readonly [number, number, number, number] }) =>
    map.find(address) !== undefined
}
const behind = (
  peer: string,
  headers: { xff?: string; fwd?: string },
  isTrusted = trusted('10.0.0.0/8', 'fd00::/8'),
) => {
  const address = parseAddress(peer)
  assert.ok(address)
  return addressText(clientBehind(address, { xForwardedFor: headers.xff, forwarded: headers.fwd }, isTrusted))
}

test('the client is the right-most hop that no trusted proxy is', () => {
  assert.equal(behind('192.0.2.9', { xff: '1.1.1.1' }), '192.0.2.9', 'an untrusted peer says nothing about others')
  assert.equal(behind('10.0.0.1', {}), '10.0.0.1')
  assert.equal(behind('10.0.0.1', { xff: '1.1.1.1' }), '1.1.1.1')
  assert.equal(behind('10.0.0.1', { xff: '6.6.6.6, 1.1.1.1' }), '1.1.1.1')
  assert.equal(behind('10.0.0.1', { xff: '6.6.6.6,1.1.1.1,10.0.0.2,10.0.0.3' }), '1.1.1.1')
  assert.equal(behind('10.0.0.1', { xff: '10.0.0.3, 10.0.0.2' }), '10.0.0.3', 'all trusted: the left-most')
  assert.equal(behind('fd00::1', { xff: '2001:db8::7' }), '2001:db8::7')
  assert.equal(behind('10.0.0.1', { xff: '::ffff:1.1.1.1' }), '1.1.1.1')
  assert.equal(behind('::ffff:10.0.0.1', { xff: '1.1.1.1' }), '1.1.1.1')
})

test('what a client writes to the left of what our proxy adds changes nothing', () => {
  const spoofs = [
    '10.0.0.2', '127.0.0.1', 'unknown', '', ',,,', ' , ', '::1%eth0', '"', '[', 'for=1.1.1.1', '\\', 'a'.repeat(5_000),
    '1.1.1.1:99999', '[::1', '10.0.0.1, 10.0.0.1, 10.0.0.1', '0x0a000001', '１０.0.0.1',
  ] // prettier-ignore
  for (const spoof of spoofs) assert.equal(behind('10.0.0.1', { xff: `${spoof}, 203.0.113.5` }), '203.0.113.5', spoof)
})

test('a hop that cannot be read counts as the proxy that passed it on', () => {
  for (const hop of ['unknown', '_gazonk', 'fe80::1%eth0', '1.1.1', '', 'a:b'])
    assert.equal(behind('10.0.0.1', { xff: `6.6.6.6, ${hop}` }), '10.0.0.1', hop)
  assert.equal(behind('10.0.0.1', { xff: '6.6.6.6, ?, 10.0.0.2' }), '10.0.0.2')
})

test('ports are taken off, in the forms proxies write', () => {
  const forms: [string, string | null][] = [
    ['192.0.2.1:443', '192.0.2.1'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['[2001:db8::1]:443', '2001:db8::1'],
    ['[192.0.2.1]:443', null],
    ['192.0.2.1:', null],
    ['192.0.2.1:443443', null],
    ['[2001:db8::1]443', null],
  ]
  for (const [hop, expected] of forms) {
    const address = parseHop(hop)
    assert.equal(address && addressText(address), expected, hop)
  }
})

test('Forwarded (RFC 7239) is read the same way: quotes, case, other parameters, several elements', () => {
  assert.equal(behind('10.0.0.1', { fwd: 'for=1.1.1.1' }), '1.1.1.1')
  assert.equal(behind('10.0.0.1', { fwd: 'For="[2001:db8::7]:4711";proto=https' }), '2001:db8::7')
  assert.equal(behind('10.0.0.1', { fwd: 'by=10.0.0.9;for=1.1.1.1;host="a,b;for=6.6.6.6"' }), '1.1.1.1')
  assert.equal(behind('10.0.0.1', { fwd: 'for=6.6.6.6, for=1.1.1.1, for=10.0.0.2' }), '1.1.1.1')
  assert.equal(behind('10.0.0.1', { fwd: 'for=6.6.6.6, proto=https' }), '10.0.0.1')
  assert.equal(behind('10.0.0.1', { fwd: 'for=unknown' }), '10.0.0.1')
  assert.equal(behind('10.0.0.1', { fwd: 'for="6.6.6.6, for=1.1.1.1' }), '10.0.0.1', 'an open quote is no element')
})

test('with both headers X-Forwarded-For decides, so that a client cannot choose by sending the other', () => {
  assert.equal(behind('10.0.0.1', { xff: '1.1.1.1', fwd: 'for=6.6.6.6' }), '1.1.1.1')
  assert.equal(behind('10.0.0.1', { xff: '', fwd: 'for=6.6.6.6' }), '10.0.0.1')
})
