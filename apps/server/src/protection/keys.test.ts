import assert from 'node:assert/strict'
import { test } from 'node:test'
import { throwawaySecrets } from '../platform/secrets.ts'
import { parseAddress } from './address/address.ts'
import { CallerIds, normalAccount } from './keys.ts'

const HOUR = 3_600_000
const NOON = Date.UTC(2026, 10, 24, 12)
const at = (text: string) => parseAddress(text) ?? assert.fail(text)

function idsAt(now: number, secrets = throwawaySecrets()) {
  const clock = { time: now, now: () => clock.time }
  return { clock, ids: new CallerIds(secrets, clock, HOUR), secrets }
}

test('the name of an address tells nothing of it, changes at midnight UTC and is the same on every instance', () => {
  const { ids, clock, secrets } = idsAt(NOON)
  const today = ids.ofAddress(at('192.0.2.1'))
  assert.equal(today.otherId, undefined)
  assert.match(today.id, /^[\w-]{12}$/)
  assert.deepEqual(idsAt(NOON + HOUR, secrets).ids.ofAddress(at('192.0.2.1')), today)
  assert.notEqual(idsAt(NOON).ids.ofAddress(at('192.0.2.1')).id, today.id, 'other secrets, other names')
  clock.time += 24 * HOUR
  assert.notEqual(ids.ofAddress(at('192.0.2.1')).id, today.id)
})

test('for the longest window after midnight the old name is told too, and a late clock looks ahead', () => {
  const { ids, clock } = idsAt(NOON)
  const address = at('192.0.2.1')
  const old = ids.ofAddress(address).id
  clock.time = Date.UTC(2026, 10, 24, 23, 59, 30)
  const eve = ids.ofAddress(address)
  clock.time = Date.UTC(2026, 10, 25, 0, 0, 1)
  const fresh = ids.ofAddress(address)
  assert.equal(fresh.otherId, old)
  assert.deepEqual(eve, { id: old, otherId: fresh.id })
  clock.time += HOUR + 60_000
  assert.deepEqual(ids.ofAddress(address), { id: fresh.id, otherId: undefined })
})

test('the epoch changes whenever names do, so that kept ones are asked again', () => {
  const { ids, clock } = idsAt(NOON)
  const epochs = [NOON, NOON + 12 * HOUR - 30_000, NOON + 12 * HOUR, NOON + 14 * HOUR].map((time) => {
    clock.time = time
    return ids.epoch
  })
  assert.equal(new Set(epochs).size, 4)
})

test('an IPv6 host is its /64, an IPv4 host itself, and kinds of names never meet', () => {
  const { ids } = idsAt(NOON)
  const id = (text: string) => ids.ofAddress(at(text)).id
  assert.equal(id('2001:db8::1'), id('2001:db8::ffff:1'))
  assert.notEqual(id('2001:db8::1'), id('2001:db8:0:1::1'))
  assert.notEqual(id('192.0.2.1'), id('192.0.2.2'))
  assert.equal(id('::ffff:192.0.2.1'), id('192.0.2.1'))
  const prefix = (text: string) => ids.ofPrefix(at(text)).id
  assert.equal(prefix('2001:db8::1'), prefix('2001:db8:0:1::1'))
  assert.notEqual(ids.of('user', 'x').id, ids.of('account', 'x').id)
})

test('accounts are one without regard to case, width and, for numbers, dashes', () => {
  assert.equal(normalAccount('email', ' Ann@Example.COM '), 'ann@example.com')
  assert.equal(normalAccount('email', 'ａnn@example.com'), 'ann@example.com')
  assert.equal(normalAccount('account_number', 'ABCD-EFGH 23'), 'abcdefgh23')
})
