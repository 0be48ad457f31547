import type { onRequestHookHandler } from 'fastify'
import type { Principal } from './principal.ts'

/** A session that may be used no more; `userId` alone when all sessions of the account ended. */
export type Revocation = { userId: string; sessionId: string | null }

/** What other rooms and the composition root get from this room. */
export type Auth = {
  /**
   * `onRequest` hook: routes with `needs: 'public'` pass; others need `Authorization: Bearer`, a live session and the
   * permission. @throws 401 UNAUTHENTICATED / TOKEN_EXPIRED (with `WWW-Authenticate`), 403 FORBIDDEN
   */
  authenticate: onRequestHookHandler
  /** The same judgement of a bare token, for sockets. @throws 401 UNAUTHENTICATED / TOKEN_EXPIRED */
  authenticateToken(token: string): Promise<Principal>
  /** Reads the session of a principal again: null once it is revoked, ended, or its user is inactive. */
  refreshPrincipal(principal: Principal): Promise<Principal | null>
  /** Hears of every revocation on every instance, usually within milliseconds. @returns ends the subscription */
  onSessionRevoked(listener: (revocation: Revocation) => void): () => void
}
