import type { IncomingMessage } from 'node:http'
import type { Attempts, FailedAttempt, Refund, SpentRule } from '../platform/attempts.ts'
import type { Id } from './keys.ts'
import { rateLimited, seconds } from './refusals.ts'
import type { State } from './state.ts'
import { toldHeaders } from './told.ts'
import { exhaustedKey } from './wishes.ts'
import type { WebhookGuard } from './webhook-guard.ts'

/** What rooms report and spend: platform/attempts.ts. */
export class Spending implements Attempts {
  readonly #state: State
  readonly #webhooks: WebhookGuard

  constructor(state: State, webhooks: WebhookGuard) {
    this.#state = state
    this.#webhooks = webhooks
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

  async spend(rule: SpentRule, subject: string, req?: IncomingMessage): Promise<Refund> {
    const { config, limiter, table, violations, clients, exhausted } = this.#state
    if (!config.limitsEnabled) return async () => undefined
    const wish = { ...this.#idOf(rule, subject, req), rule, limit: table.at(rule) }
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
