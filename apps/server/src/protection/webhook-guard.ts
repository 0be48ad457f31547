import type { IncomingMessage, ServerResponse } from 'node:http'
import { InvalidInput } from '../platform/errors.ts'
import type { Client } from './client.ts'
import type { MinuteCounters, ShutUntil } from './counters.ts'
import { rateLimited, seconds } from './refusals.ts'

const IN_FLIGHT_PER_ADDRESS = 64
const IN_FLIGHT = 256
const BAD_SIGNATURES_A_MINUTE = 20
const SHUT_MS = 60_000

type Deps = { bad: MinuteCounters; shut: ShutUntil; alert: (what: string) => void }

/**
 * The payment provider's calls are not counted, since losing them costs money, and never ban. They are held by the number
 * of bodies in flight, and by a minute's pause for an address that sends bad signatures.
 */
export class WebhookGuard {
  readonly #deps: Deps
  readonly #inFlight = new Map<string, number>()
  #all = 0

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** @throws 400 without a signature, 429; before the body is read */
  admit(req: IncomingMessage, res: ServerResponse, client: Client): void {
    const { id } = client.ids.address
    const left = this.#deps.shut.left(id)
    if (left > 0) throw rateLimited(seconds(left))
    if (req.headers['stripe-signature'] === undefined)
      throw new InvalidInput([{ field: 'stripe-signature', message: 'is missing' }])
    const own = this.#inFlight.get(id) ?? 0
    if (own >= IN_FLIGHT_PER_ADDRESS || this.#all >= IN_FLIGHT) throw rateLimited(1)
    this.#inFlight.set(id, own + 1)
    this.#all++
    res.once('close', () => {
      const now = (this.#inFlight.get(id) ?? 1) - 1
      if (now > 0) this.#inFlight.set(id, now)
      else this.#inFlight.delete(id)
      this.#all--
    })
  }

  badSignature(client: Client): void {
    const { id } = client.ids.address
    if (this.#deps.bad.count(id) < BAD_SIGNATURES_A_MINUTE) return
    this.#deps.bad.forget(id)
    this.#deps.shut.shut(id, SHUT_MS)
    this.#deps.alert(
      'many webhook calls with a bad signature: someone is guessing, or the webhook secret is not the right one',
    )
  }
}
