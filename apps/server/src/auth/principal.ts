import type { FastifyRequest } from 'fastify'
import type { Permission, Role } from '../accounts/index.ts'
import type { SessionQuery, SessionRow } from './session/store.ts'
import { Unauthenticated } from '../platform/errors.ts'

/** What the caller's plan allows at this moment: a row of the view `entitlements`, read with the session. */
export type Entitlement = {
  planId: string
  tier: 'free' | 'premium'
  maxDevices: number
  maxConnections: number
  /** End of the plan or its grace; null for the free plan and plans without end. */
  expiresAt: Date | null
}

/** Who calls, as the database says at this request; nothing of it is taken from the token but the session's id. */
export type Principal = {
  userId: string
  sessionId: string
  role: Role
  permissions: ReadonlySet<Permission>
  /** Such a session may only change the password and sign out. */
  mustChangePassword: boolean
  /** Staff without a second factor, in production: such a session may only set one up and sign out. */
  mustSetUpFactor?: boolean
  /** When the session was opened by a proof of who it is; not there for other credentials than sessions. */
  signedInAt?: Date
  isVerified: boolean
  entitlement: Entitlement
  /** When the session itself ends at the latest. */
  sessionExpiresAt: Date
  /** When the credential of this call ends (an access token's `exp`). */
  credentialExpiresAt: Date
}

declare module 'fastify' {
  interface FastifyRequest {
    principal?: Principal
    /** What the session was read from; more than a session where the route has a `readSession`. */
    sessionRow?: SessionRow
  }
  interface FastifyContextConfig {
    /** Reads the session by `live_sessions` together with what the route shows. */
    readSession?: SessionQuery
    /** Also for a session that must change its password first. */
    duringPasswordChange?: boolean
    /** Also for staff that must set up a second factor first. */
    duringFactorSetup?: boolean
  }
}

/** The signed-in caller. @throws {Unauthenticated} on a public route */
export function principalOf(req: FastifyRequest): Principal {
  if (!req.principal) throw new Unauthenticated()
  return req.principal
}
