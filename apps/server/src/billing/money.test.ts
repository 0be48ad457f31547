import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppError } from '../platform/errors.ts'
import { toDecimal, toMinor } from './money.ts'
import { Currency } from './schemas.ts'

const refused = (amount: number, currency: string) =>
  assert.throws(() => toMinor(amount, currency), AppError, `${amount} ${currency}`)

test('an amount is counted in the minor units of its currency, and reads the same again', () => {
  for (const [amount, currency, minor] of [
    [9.99, 'USD', 999],
    [500, 'JPY', 500],
    [5.12, 'KWD', 5120],
    [5, 'ISK', 500],
    [37_000, 'UGX', 3_700_000],
  ] as const) {
    assert.equal(toMinor(amount, currency), minor)
    assert.equal(toDecimal(minor, currency), amount)
  }
})

test('an amount that Stripe would refuse is refused here: too many decimals for what can be charged', () => {
  refused(9.999, 'USD')
  refused(9.9, 'JPY')
  refused(5.124, 'KWD')
  refused(5.5, 'ISK')
  refused(1.01, 'UGX')
})

test('a currency is one of ISO 4217 in which people pay', () => {
  for (const code of ['usd', 'EUR', 'xof', 'KWD', 'UGX']) assert.equal(Currency.parse(code), code.toUpperCase())
  for (const code of ['ZZZ', 'XXX', 'XTS', 'XAU', 'XDR', 'US', 'US$'])
    assert.equal(Currency.safeParse(code).success, false)
})
