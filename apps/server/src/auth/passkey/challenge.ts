import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Clock } from '../../platform/clock.ts'
import type { Kv } from '../../platform/kv/index.ts'
import type { Secrets } from '../../platform/secrets.ts'

const LIFE_MS = 5 * 60_000
const RANDOM_BYTES = 16
const TIME_BYTES = 8
const MAC_BYTES = 32

/** What a challenge is for: signing in, or adding a passkey to one account. */
export type Purpose = 'login' | `register ${string}`

/**
 * Challenges that carry their own end and proof: asking for one stores nothing, so nobody can fill our memory with them.
 * A used one is remembered until its end.
 */
export class Challenges {
  readonly #secrets: Secrets
  readonly #clock: Clock
  readonly #kv: Kv

  constructor({ secrets, clock, kv }: { secrets: Secrets; clock: Clock; kv: Kv }) {
    this.#secrets = secrets
    this.#clock = clock
    this.#kv = kv
  }

  #mac = (purpose: Purpose, body: Buffer): Buffer =>
    this.#secrets.mac('passkey-challenge', Buffer.concat([body, Buffer.from(purpose)]))

  make(purpose: Purpose): Uint8Array<ArrayBuffer> {
    const until = Buffer.alloc(TIME_BYTES)
    until.writeBigUInt64BE(BigInt(this.#clock.now() + LIFE_MS))
    const body = Buffer.concat([randomBytes(RANDOM_BYTES), until])
    return Uint8Array.from(Buffer.concat([body, this.#mac(purpose, body)]))
  }

  /** Ours, for this purpose, in time. @param text base64url, as the browser signed it */
  isGood(purpose: Purpose, text: string): boolean {
    const bytes = Buffer.from(text, 'base64url')
    if (bytes.length !== RANDOM_BYTES + TIME_BYTES + MAC_BYTES) return false
    const body = bytes.subarray(0, RANDOM_BYTES + TIME_BYTES)
    const given = bytes.subarray(RANDOM_BYTES + TIME_BYTES)
    return (
      timingSafeEqual(this.#mac(purpose, body), given) && Number(body.readBigUInt64BE(RANDOM_BYTES)) > this.#clock.now()
    )
  }

  /** Uses it up, however it is spelt: of any number of takers one gets it. @throws {KvUnavailable} */
  take(text: string): Promise<boolean> {
    const key = createHash('sha256').update(Buffer.from(text, 'base64url')).digest('base64url')
    return this.#kv.setOnce(`passkey-used:${key}`, '1', LIFE_MS)
  }
}
