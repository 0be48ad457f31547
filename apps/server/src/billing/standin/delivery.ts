import { createHmac } from 'node:crypto'
import type { StripeEvent } from './types.ts'

/** `stripe-signature` for a body: HMAC-SHA-256 over `<seconds>.<body>` (Stripe, "Verify webhook signatures manually"). */
export function signatureOf(body: string, secret: string, atSeconds: number): string {
  const mac = createHmac('sha256', secret).update(`${atSeconds}.${body}`).digest('hex')
  return `t=${atSeconds},v1=${mac}`
}

const RETRY_MS = [250, 1_000, 4_000, 15_000]
const TIMEOUT_MS = 10_000

/** Sends events to one address; a failed one is tried again later, a few times. Order is not promised, as with Stripe. */
export class Delivery {
  #url: string | undefined
  readonly #secret: string
  readonly #nowSeconds: () => number
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #running = new Set<Promise<void>>()
  /** While set, nothing is sent: events get lost. */
  lost = false

  constructor(secret: string, nowSeconds: () => number) {
    this.#secret = secret
    this.#nowSeconds = nowSeconds
  }
  /** From now on events go to `url`. */
  to(url: string): void {
    this.#url = url
  }
  send(event: StripeEvent): void {
    if (!this.lost) this.#try(event, 0)
  }
  #try(event: StripeEvent, attempt: number): void {
    const running = this.#deliver(event, attempt).finally(() => this.#running.delete(running))
    this.#running.add(running)
  }
  async #deliver(event: StripeEvent, attempt: number): Promise<void> {
    const wait = RETRY_MS[attempt]
    if ((await this.#post(event)) || wait === undefined) return
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      this.#try(event, attempt + 1)
    }, wait)
    timer.unref()
    this.#timers.add(timer)
  }
  async #post(event: StripeEvent): Promise<boolean> {
    if (this.#url === undefined) return true
    const body = JSON.stringify(event)
    try {
      const answer = await fetch(this.#url, {
        method: 'POST',
        redirect: 'error',
        headers: {
          'content-type': 'application/json; charset=utf-8',
          'stripe-signature': signatureOf(body, this.#secret, this.#nowSeconds()),
        },
        body,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      })
      await answer.arrayBuffer()
      return answer.ok
    } catch {
      return false
    }
  }
  /** Resolves once nothing is under way; what waits to be tried again is not waited for. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
  }
  async close(): Promise<void> {
    this.lost = true
    for (const timer of this.#timers) clearTimeout(timer)
    await this.idle()
  }
}
