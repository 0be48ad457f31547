import assert from 'node:assert/strict'
import * as fc from 'fast-check'
import { test } from 'node:test'
import { overlaps, parseAddress, parseCidr } from './addresses.ts'
import { InvalidValue } from './errors.ts'
import { FIRST_CUSTOMER_SLOT, NODE_SLOT, partsOf, slotAddress, slotOf, slotsOf, splitSubnet } from './slots.ts'

test('slots of a /22: network, node, customers, and never the broadcast address', () => {
  assert.equal(slotAddress('10.77.4.0/22', 0), '10.77.4.0')
  assert.equal(slotAddress('10.77.4.0/22', NODE_SLOT), '10.77.4.1')
  assert.equal(slotAddress('10.77.4.0/22', FIRST_CUSTOMER_SLOT), '10.77.4.2')
  assert.equal(slotsOf('10.77.4.0/22'), 1022)
  assert.equal(slotAddress('10.77.4.0/22', 1022), '10.77.7.254')
  assert.throws(() => slotAddress('10.77.4.0/22', 1023), InvalidValue)
  assert.equal(slotOf('10.77.4.0/22', '10.77.7.255'), null)
})

test('one slot number gives both families', () => {
  assert.equal(slotAddress('fd12:3456:789a:1::/64', 2), 'fd12:3456:789a:1::2')
  assert.equal(slotAddress('fd12:3456:789a:1::/64', 65534), 'fd12:3456:789a:1::fffe')
})

test('small subnets have as many slots as they can hold', () => {
  assert.deepEqual(
    ['/16', '/24', '/29', '/30', '/31', '/32'].map((p) => slotsOf(`10.0.0.0${p}`)),
    [65534, 254, 6, 2, 0, 0],
  )
})

test('a slot that is none is refused', () => {
  for (const slot of [-1, 1.5, Number.NaN, Infinity, 2 ** 32])
    assert.throws(() => slotAddress('fd00::/64', slot), InvalidValue)
  assert.throws(() => slotAddress('10.0.0.1/24', 2), InvalidValue, 'host bits are set')
  assert.throws(() => slotAddress('fd00::/97', 2), InvalidValue)
})

test('slot to address and back is the identity, and no two slots share an address', () => {
  const prefix = fc.integer({ min: 8, max: 30 })
  fc.assert(
    fc.property(fc.bigInt(0n, 2n ** 32n - 1n), prefix, fc.nat(), fc.nat(), (value, prefix, a, b) => {
      const base = splitSubnet('0.0.0.0/0', prefix, value >> BigInt(32 - prefix))
      const [one, two] = [a % (slotsOf(base) + 1), b % (slotsOf(base) + 1)]
      assert.equal(slotOf(base, slotAddress(base, one)), one)
      assert.equal(slotAddress(base, one) === slotAddress(base, two), one === two)
    }),
  )
})

test('an address outside has no slot', () => {
  assert.equal(slotOf('10.77.4.0/22', '10.77.8.0'), null)
  assert.equal(slotOf('10.77.4.0/22', '10.77.3.255'), null)
  assert.equal(slotOf('10.77.4.0/22', 'fd00::1'), null)
  assert.equal(slotOf('fd00::/64', 'fd00:0:0:1::'), null)
})

test('parts of a base lie inside it, beside each other and apart', () => {
  fc.assert(
    fc.property(fc.integer({ min: 17, max: 28 }), fc.nat(), fc.nat(), (prefix, a, b) => {
      const parts = Number(partsOf('10.77.0.0/16', prefix))
      const [one, two] = [
        splitSubnet('10.77.0.0/16', prefix, a % parts),
        splitSubnet('10.77.0.0/16', prefix, b % parts),
      ]
      assert.ok(overlaps(parseCidr('10.77.0.0/16'), parseCidr(one)))
      assert.equal(overlaps(parseCidr(one), parseCidr(two)), a % parts === b % parts)
    }),
  )
  assert.equal(splitSubnet('10.77.0.0/16', 22, 0), '10.77.0.0/22')
  assert.equal(splitSubnet('10.77.0.0/16', 22, 63), '10.77.252.0/22')
  assert.equal(splitSubnet('fd00::/8', 64, 2n ** 56n - 1n), 'fdff:ffff:ffff:ffff::/64')
  assert.equal(parseAddress('10.77.252.0').value - parseAddress('10.77.0.0').value, 63n * 1024n)
})

test('a part that is none is refused', () => {
  assert.throws(() => splitSubnet('10.77.0.0/16', 22, 64), InvalidValue)
  assert.throws(() => splitSubnet('10.77.0.0/16', 22, -1), InvalidValue)
  assert.throws(() => splitSubnet('10.77.0.0/16', 22, 0.5), InvalidValue)
  assert.throws(() => splitSubnet('10.77.0.0/16', 15, 0), InvalidValue)
  assert.throws(() => splitSubnet('10.77.0.0/16', 33, 0), InvalidValue)
})
