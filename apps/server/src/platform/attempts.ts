import type { IncomingMessage } from 'node:http'

/** What counts against an address (api.md, section 7): never a missing or expired credential, a 403, a 405 or a bad field. */
export type FailedAttempt = 'password' | 'code' | 'secret' | 'token' | 'signature' | 'webhook' | 'unknown-route'

/**
 * Limits that a room judges itself, since only it knows when they apply.
 * - `AUTH_FACTOR`: tries of a second factor after a right password; subject: the account.
 * - `AUTH_PASSWORD_RESET`: mails of a change of address; subject: who asks, and the address they go to.
 * - `AUTH_DEVICE_CODE`: wrong device user codes, over all callers; subject: ''.
 * - `AUTH_ACCOUNT_NETWORK`: tries on a closed account without mail; subject: the account, for each /24 or /48.
 * - `WEBSOCKET`: opens by ticket; subject: the user's id.
 */
export type SpentRule =
  'AUTH_FACTOR' | 'AUTH_PASSWORD_RESET' | 'AUTH_DEVICE_CODE' | 'AUTH_ACCOUNT_NETWORK' | 'WEBSOCKET'

/** Takes back what `spend` charged: the try was a success. */
export type Refund = () => Promise<void>

/** What rooms tell the protection, which stands below them. */
export interface Attempts {
  /**
   * Counts a failed attempt for the caller's address: 50 in 5 minutes ban it, or close sign-in where many customers share
   * it. Returns at once and never throws.
   */
  failed(req: IncomingMessage, kind: FailedAttempt): void
  /**
   * Charges one try before it is judged, so that a crowd at once gets no more tries than one after the other.
   * @throws 429 RATE_LIMITED
   */
  spend(rule: SpentRule, subject: string, req?: IncomingMessage): Promise<Refund>
}

/** Counts nothing: for tests of rooms that report attempts. */
export const uncountedAttempts: Attempts = {
  failed: () => undefined,
  spend: async () => async () => undefined,
}
