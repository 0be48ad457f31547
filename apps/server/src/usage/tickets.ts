import { createHash, randomBytes } from 'node:crypto'
import { z } from 'zod'
import { isPermission, ROLES } from '../accounts/index.ts'
import type { Auth, Principal } from '../auth/index.ts'
import { Unauthenticated } from '../platform/errors.ts'
import type { Kv } from '../platform/kv/index.ts'

export const TICKET_SECONDS = 30
const BYTES = 32
const PREFIX = 'wst_'

/** The store holds a hash: who reads it opens no socket. */
const keyOf = (ticket: string): string => `ws-ticket:${createHash('sha256').update(ticket).digest('base64url')}`

const Stored = z.object({
  userId: z.string(),
  sessionId: z.string(),
  role: z.enum(ROLES),
  permissions: z.array(z.string()),
  mustChangePassword: z.boolean(),
  isVerified: z.boolean(),
  entitlement: z.object({
    planId: z.string(),
    tier: z.enum(['free', 'premium']),
    maxDevices: z.number(),
    maxConnections: z.number(),
    expiresAt: z.coerce.date().nullable(),
  }),
  sessionExpiresAt: z.coerce.date(),
  credentialExpiresAt: z.coerce.date(),
})

/** True for a ticket; a JWT never begins so. */
export const isTicket = (token: string): boolean => token.startsWith(PREFIX)

/** Makes a ticket that opens one socket of this session within 30 s. @throws {KvUnavailable} */
export async function issueTicket(kv: Kv, principal: Principal): Promise<string> {
  const ticket = PREFIX + randomBytes(BYTES).toString('base64url')
  const stored = { ...principal, permissions: [...principal.permissions] }
  await kv.set(keyOf(ticket), JSON.stringify(stored), TICKET_SECONDS * 1000)
  return ticket
}

/**
 * Uses a ticket up.
 * @returns the caller as the session is now
 * @throws {Unauthenticated} unknown, used, too old, or its session has ended
 */
export async function takeTicket(kv: Kv, auth: Pick<Auth, 'refreshPrincipal'>, ticket: string): Promise<Principal> {
  const text = await kv.take(keyOf(ticket))
  const stored = Stored.safeParse(text === null ? null : JSON.parse(text))
  if (!stored.success) throw new Unauthenticated('The ticket is not valid.')
  const permissions = new Set(stored.data.permissions.filter(isPermission))
  const principal = await auth.refreshPrincipal({ ...stored.data, permissions })
  if (!principal) throw new Unauthenticated('The session has ended.')
  return principal
}
