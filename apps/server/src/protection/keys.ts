import type { Clock } from '../platform/clock.ts'
import type { Secrets } from '../platform/secrets.ts'
import { networkOf, type Address } from './address/address.ts'
import { keyedHash } from './hmac.ts'

const DAY_MS = 86_400_000
/** How far apart the clocks of two instances may be around midnight. */
const CLOCK_SKEW_MS = 60_000
/** Of base64url: 72 bits. V8 copies a cut of up to 12 characters; a longer one would keep the whole text alive. */
const ID_LENGTH = 12

/** What a caller is called in the limiter: under this day's salt and, around midnight, under the other day's. */
export type Id = { id: string; otherId: string | undefined }

export type Subject = 'address' | 'prefix' | 'account' | 'account+address' | 'account+network' | 'user' | 'all'

/**
 * Names callers by HMACs under a salt that all instances derive from the shared secret and that changes at midnight UTC:
 * nobody who reads the limiter's memory learns an address, or sees that today's caller is yesterday's. For the longest
 * window after midnight the old name is asked as well, so that the change gives nobody a fresh start.
 */
export class CallerIds {
  readonly #secrets: Secrets
  readonly #clock: Clock
  readonly #longestWindowMs: number
  #day = -1
  #salts = new Map<number, (text: string) => string>()

  constructor(secrets: Secrets, clock: Clock, longestWindowMs: number) {
    this.#secrets = secrets
    this.#clock = clock
    this.#longestWindowMs = longestWindowMs
  }

  /** Changes when names change: what was kept under an older value must be asked again. */
  get epoch(): number {
    const now = this.#clock.now()
    const { day, other } = this.#days(now)
    return other === undefined ? day * 4 : day * 4 + (other > day ? 1 : 2)
  }

  #days(now: number): { day: number; other: number | undefined } {
    const day = Math.floor(now / DAY_MS)
    const sinceMidnight = now - day * DAY_MS
    if (sinceMidnight < this.#longestWindowMs + CLOCK_SKEW_MS) return { day, other: day - 1 }
    return { day, other: DAY_MS - sinceMidnight <= CLOCK_SKEW_MS ? day + 1 : undefined }
  }

  #salt(day: number): (text: string) => string {
    if (day !== this.#day) {
      this.#day = day
      for (const kept of this.#salts.keys()) if (Math.abs(kept - day) > 1) this.#salts.delete(kept)
    }
    let salt = this.#salts.get(day)
    if (!salt) {
      salt = keyedHash(this.#secrets.mac('limits', String(day)))
      this.#salts.set(day, salt)
    }
    return salt
  }

  #name(day: number, subject: Subject, text: string): string {
    return this.#salt(day)(`${subject}\0${text}`).slice(0, ID_LENGTH)
  }

  of(subject: Subject, text: string): Id {
    const { day, other } = this.#days(this.#clock.now())
    return {
      id: this.#name(day, subject, text),
      otherId: other === undefined ? undefined : this.#name(other, subject, text),
    }
  }

  /** An address counts as itself (IPv4) or as its /64 (IPv6). */
  ofAddress(address: Address): Id {
    return this.of('address', countedAs(address))
  }

  /** The /48 of an IPv6 address. */
  ofPrefix(address: Address): Id {
    return this.of('prefix', prefixOf(address))
  }

  /** An e-mail address or account number as sent, without regard to case: known or not, it is the same. */
  ofAccount(account: string): Id {
    return this.of('account', account)
  }

  ofAccountAt(account: string, address: Address): Id {
    return this.of('account+address', `${countedAs(address)}\0${account}`)
  }

  /** An account from a whole neighbourhood: /24 or /48. */
  ofAccountNear(account: string, address: Address): Id {
    return this.of('account+network', `${blockText(address, address.family === 4 ? 24 : 48)}\0${account}`)
  }
}

const blockText = (address: Address, length: number): string => {
  const { family, words } = networkOf(address, length)
  return `${family} ${words.join('.')} ${length}`
}

/** The /48 of an IPv6 address: what a customer of a hoster may hold as a whole. */
export const prefixOf = (address: Address): string => blockText(address, 48)

/** The block that counts as one caller: the address, or the /64 that an IPv6 host may choose from. */
export const countedAs = (address: Address): string =>
  address.family === 4 ? `4 ${address.words[3]}` : `6 ${address.words[0]}.${address.words[1]}`

/** E-mail addresses are one without regard to case; account numbers also without dashes. */
export const normalAccount = (field: string, value: string): string => {
  const text = value.trim().toLowerCase().normalize('NFKC')
  return field === 'account_number' ? text.replace(/[-\s]/g, '') : text
}
