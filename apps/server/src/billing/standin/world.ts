import { randomBytes } from 'node:crypto'
import type { Store } from './store.ts'
import type { StripeEvent, Thing } from './types.ts'

/** The version of Stripe's API whose shapes this is; a request of another is refused, so that a drifting SDK is noticed. */
export const STANDIN_VERSION = '2026-10-28.endive'

/** What every use case of the stand-in is handed: its objects, and where events go. */
export type World = {
  store: Store
  /** Where its own pages are, e.g. http://127.0.0.1:12111 */
  base: () => string
  emit(type: string, object: Thing, previous?: Record<string, unknown>): void
}

/** An event with a snapshot of its object, as it is now. */
export function makeEvent(now: number, type: string, object: Thing, previous?: Record<string, unknown>): StripeEvent {
  return {
    id: `evt_${randomBytes(12).toString('hex')}`,
    object: 'event',
    api_version: STANDIN_VERSION,
    created: now,
    livemode: false,
    pending_webhooks: 1,
    request: { id: null, idempotency_key: null },
    type,
    data: { object: structuredClone(object), ...(previous ? { previous_attributes: previous } : {}) },
  }
}

export const secretOf = (id: string): string => `${id}_secret_${randomBytes(12).toString('hex')}`
