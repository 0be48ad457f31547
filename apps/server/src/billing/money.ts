import { invalidField } from '../platform/errors.ts'

/** Currencies that Stripe counts without decimals, and those with three (Stripe, "Supported currencies"). */
const WITHOUT_DECIMALS = new Set('BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF'.split(' '))
const WITH_THREE = new Set('BHD JOD KWD OMR TND'.split(' '))
/** They have no decimals any more; Stripe still counts them with two, which must be zero. */
const WHOLE_WITH_TWO = new Set(['ISK', 'UGX'])

/** What every amount must be a multiple of, in minor units: with three decimals the last is zero. */
const stepOf = (currency: string): number => (WHOLE_WITH_TWO.has(currency) ? 100 : WITH_THREE.has(currency) ? 10 : 1)

/** Decimals of a currency's amounts at the edge. @param currency ISO 4217, upper case */
export const digitsOf = (currency: string): number =>
  WITHOUT_DECIMALS.has(currency) ? 0 : WITH_THREE.has(currency) ? 3 : 2

/** Minor units as the decimal number of the edge: 999 USD is 9.99. */
export const toDecimal = (minor: number, currency: string): number =>
  Number((minor / 10 ** digitsOf(currency)).toFixed(digitsOf(currency)))

/** As people read it: `9.99 USD`. */
export const moneyText = (minor: number, currency: string): string =>
  `${(minor / 10 ** digitsOf(currency)).toFixed(digitsOf(currency))} ${currency}`

/** The most that Stripe charges at once, in minor units. */
export const MOST_MINOR = 99_999_999

/**
 * A decimal amount of the edge in minor units, exactly.
 * @throws {InvalidInput} zero, negative, huge, or with more decimals than can be charged in the currency
 */
export function toMinor(amount: number, currency: string, field = 'amount'): number {
  const digits = digitsOf(currency)
  const text = String(amount)
  if (!/^\d{1,10}(\.\d{1,3})?$/.test(text)) throw invalidField(field, 'must be a positive amount')
  const [whole = '', decimals = ''] = text.split('.')
  if (decimals.length > digits) throw invalidField(field, `must have at most ${digits} decimals in ${currency}`)
  const minor = Number(whole + decimals.padEnd(digits, '0'))
  if (minor < 1 || minor > MOST_MINOR) throw invalidField(field, 'is not an amount that can be paid')
  const step = stepOf(currency)
  if (minor % step !== 0)
    throw invalidField(field, `must have at most ${digits - Math.log10(step)} decimals in ${currency}`)
  return minor
}
