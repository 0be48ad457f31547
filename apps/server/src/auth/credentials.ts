import { timingSafeEqual } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { Unauthenticated } from '../platform/errors.ts'
import { liveApiToken, noteApiTokenUse } from './api-token/store.ts'
import type { Parts } from './parts.ts'
import { principalOfApiToken, principalOfSession } from './principal-from.ts'
import type { Principal } from './principal.ts'
import { looksLike, readSelfProving, type SelfProven, type SelfProvingKind } from './self-proving.ts'
import { lifetimesOf } from './session/lifetimes.ts'
import { liveSessions, touchSession, type SessionQuery, type SessionRow } from './session/store.ts'
import type { Claims } from './token/access.ts'

export type CredentialDeps = Pick<Parts, 'db' | 'sessions' | 'tokens' | 'config' | 'secrets' | 'cookies'>

/** The caller, and the row it was read from where that was a session's. */
export type Judged = { principal: Principal; row?: SessionRow }

const BEARER = /^Bearer +(\S+)$/i
/** A use is noted, and the idle end moved, to the minute. */
const TOUCH_EVERY_MS = 60_000

/** The bearer's token of a request, undefined when it carries none. @throws {Unauthenticated} another scheme */
export function bearerOf(authorization: string | undefined): string | undefined {
  if (authorization === undefined) return undefined
  const token = BEARER.exec(authorization)?.[1]
  if (token === undefined) throw new Unauthenticated('Send Authorization: Bearer <access token>.')
  return token
}

const ended = () => new Unauthenticated('The session has ended. Sign in again.')

/** @throws {Unauthenticated} forged, or signed with a key we do not have; the former was reported before any look-up */
function provenBy(deps: CredentialDeps, kind: SelfProvingKind, text: string): SelfProven {
  const proven = readSelfProving(deps.secrets, kind, text)
  if (typeof proven === 'string') throw new Unauthenticated('The credential is not valid.')
  return proven
}

const isHash = (stored: Buffer | null, given: Buffer): boolean => stored !== null && timingSafeEqual(stored, given)

async function judgeAccessToken(deps: CredentialDeps, token: string, query: SessionQuery): Promise<Judged> {
  const claims = await deps.tokens.verify(token)
  const row = await deps.sessions(query, claims.sid, claims.sub)
  if (!row || row.kind === 'cookie') throw ended()
  const { sub: userId, sid: sessionId, scope } = claims
  const by = { userId, sessionId, scope, expiresAt: new Date(claims.exp * 1000) }
  return { principal: principalOfSession(deps, by, row), row }
}

async function judgeApiToken(deps: CredentialDeps, text: string): Promise<Judged> {
  const { id, userId, hash } = provenBy(deps, 'api-token', text)
  const row = await liveApiToken(deps.db, id, userId)
  if (!row || !isHash(row.secret_hash, hash)) throw new Unauthenticated('The API token has ended.')
  if (Date.now() - (row.last_used_at?.getTime() ?? 0) > TOUCH_EVERY_MS) await noteApiTokenUse(deps.db, id)
  return { principal: principalOfApiToken(deps, id, row) }
}

async function judgeCookie(
  deps: CredentialDeps,
  req: FastifyRequest,
  text: string,
  query: SessionQuery,
): Promise<Judged> {
  const { id, userId, hash } = provenBy(deps, 'cookie', text)
  const row = await deps.sessions(query, id, userId)
  if (!row || row.kind !== 'cookie' || !isHash(row.secret_hash, hash)) throw ended()
  deps.cookies.assertOwnWrite(req.raw, id, hash)
  if (Date.now() - row.last_used_at.getTime() > TOUCH_EVERY_MS)
    await touchSession(deps.db, id, lifetimesOf(row.role, deps.config).idleSeconds)
  return { principal: principalOfSession(deps, { userId, sessionId: id, expiresAt: row.expires_at }, row), row }
}

const judgeBearer = (deps: CredentialDeps, token: string, query: SessionQuery): Promise<Judged> =>
  looksLike('api-token', token) ? judgeApiToken(deps, token) : judgeAccessToken(deps, token, query)

/** A bare token, for sockets. @throws {TokenExpired} {Unauthenticated} */
export const authenticateToken = async (deps: CredentialDeps, token: string): Promise<Principal> =>
  (await judgeBearer(deps, token, liveSessions)).principal

/**
 * The caller of a request: `Authorization` when there is one, else the cookie of a browser's session.
 * @throws {TokenExpired} {Unauthenticated} {Forbidden} a cookie's write that is not one of our pages'
 */
export function judgeRequest(deps: CredentialDeps, req: FastifyRequest, query: SessionQuery): Promise<Judged> {
  const token = bearerOf(req.headers.authorization)
  if (token !== undefined) return judgeBearer(deps, token, query)
  const cookie = deps.cookies.read(req.raw)
  if (cookie !== undefined) return judgeCookie(deps, req, cookie, query)
  throw new Unauthenticated()
}

/** The session the claims name as it is now, or the API token of that id; undefined once it ended or its user is off. */
export async function principalFor(deps: CredentialDeps, claims: Claims): Promise<Principal | undefined> {
  const row = await deps.sessions(liveSessions, claims.sid, claims.sub)
  const { sub: userId, sid: sessionId, scope } = claims
  const by = { userId, sessionId, scope, expiresAt: new Date(claims.exp * 1000) }
  if (row) return principalOfSession(deps, by, row)
  const token = await liveApiToken(deps.db, claims.sid, claims.sub)
  return token && principalOfApiToken(deps, claims.sid, token)
}
