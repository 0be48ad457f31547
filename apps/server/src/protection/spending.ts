import type { IncomingMessage } from 'node:http'
import type { Attempts, FailedAttempt, Refund, SpentRule } from '../platform/attempts.ts'
import type { Id } from './keys.ts'
import { rateLimited, seconds } from './refusals.ts'
import type { State } from './state.ts'
import type { TierOf } from './tiers.ts'
import { toldHeaders } from './told.ts'
import { exhaustedKey, shrinks } from './wishes.ts'
import type { WebhookGuard } from './webhook-guard.ts'

/** What rooms report and spend: platform/attempts.ts. */
export class Spending implements Attempts {
  readonly #state: State
  readonly #webhooks: WebhookGuard
  readonly #tierOf: TierOf

  constructor(state: State, webhooks: WebhookGuard, tierOf: TierOf) {
    this.#state = state
    this.#webhooks = webhooks
    this.#tierOf = tierOf
  }

  failed(req: IncomingMessage, kind: FailedAttempt): void {
    const client = this.#state.clients.of(req)
    if (kind === 'webhook') this.#webhooks.badSignature(client)
    else this.#state.suspicion.failed(client, kind)
  }

  #idOf(rule: SpentRule, subject: string, req: IncomingMessage | undefined): Id {
    const { ids, clients } = this.#state
    if (rule === 'WEBSOCKET') return ids.of('user', subject)
    if (rule === 'AUTH_DEVICE_CODE') return ids.of('all', '')
    if (rule !== 'AUTH_ACCOUNT_NETWORK') return ids.ofAccount(subject)
    if (!req) throw new Error('AUTH_ACCOUNT_NETWORK needs the request')
    return ids.ofAccountNear(subject, clients.of(req).address)
  }

  /** Under load a user's rule is as wide as where a token names the user. */
  #factorOf(rule: SpentRule, subject: string): number {
    return shrinks(rule) ? this.#state.adaptive.factor(this.#tierOf(subject)) : 1
  }

  async spend(rule: SpentRule, subject: string, req?: IncomingMessage): Promise<Refund> {
    const { config, limiter, table, violations, clients, exhausted } = this.#state
    if (!config.limitsEnabled) return async () => undefined
    const wish = { ...this.#idOf(rule, subject, req), rule, limit: table.at(rule, this.#factorOf(rule, subject)) }
    const [standing] = await limiter.take([wish])
    if (standing && !standing.admitted) {
      if (req) violations.note(rule, 'spent', clients.of(req))
      throw rateLimited(seconds(standing.retryMs), toldHeaders(rule, wish.limit, standing))
    }
    return async () => {
      exhausted.forget(exhaustedKey(wish))
      await limiter.refund([wish])
    }
  }
}
