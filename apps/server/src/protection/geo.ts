import type { Address } from './address/address.ts'
import { addressText } from './address/address.ts'

/** Tells the country of an address: two letters, or null where the database knows none. */
export type CountryOf = (address: Address) => string | null

/** Which countries may call. */
export class Countries {
  readonly #allow: ReadonlySet<string>
  readonly #deny: ReadonlySet<string>
  readonly #countryOf: CountryOf | null

  constructor(rules: { allow: ReadonlySet<string>; deny: ReadonlySet<string> }, countryOf: CountryOf | null) {
    this.#allow = rules.allow
    this.#deny = rules.deny
    this.#countryOf = countryOf
  }

  get active(): boolean {
    return this.#countryOf !== null && this.#allow.size + this.#deny.size > 0
  }

  /** With an allow-list an unknown country may not call: what cannot be told is not let in. */
  permits(address: Address): boolean {
    if (!this.#countryOf || !this.active) return true
    const country = this.#countryOf(address)
    if (country === null) return this.#allow.size === 0
    return !this.#deny.has(country) && (this.#allow.size === 0 || this.#allow.has(country))
  }

  countryOf(address: Address): string | null {
    return this.#countryOf?.(address) ?? null
  }
}

/** What `openCountryDatabase` needs of a reader of MMDB files. */
export type MmdbReader = { get(ip: string): unknown }

/** Reads the country out of the shapes in use: `{country_code}` and `{country:{iso_code}}`. */
export function countryReader(reader: MmdbReader): CountryOf {
  return (address) => {
    const row = reader.get(addressText(address)) as { country_code?: unknown; country?: { iso_code?: unknown } } | null
    const code = row?.country_code ?? row?.country?.iso_code
    return typeof code === 'string' && /^[A-Z]{2}$/.test(code) ? code : null
  }
}
