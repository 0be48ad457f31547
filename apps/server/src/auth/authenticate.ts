import type { FastifyContextConfig, FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import { isPermission, permissionsOf } from '../accounts/index.ts'
import { Forbidden, Unauthenticated } from '../platform/errors.ts'
import type { App } from '../platform/http/index.ts'
import type { Parts } from './parts.ts'
import type { Principal } from './principal.ts'
import { liveSession, type SessionRead, type SessionRow } from './session/store.ts'
import type { Claims } from './token/access.ts'

type Deps = Pick<Parts, 'db' | 'tokens' | 'config'>

const BEARER = /^Bearer +(\S+)$/i

/** The access token of a request, undefined when it carries none. @throws {Unauthenticated} another scheme */
export function bearerOf(authorization: string | undefined): string | undefined {
  if (authorization === undefined) return undefined
  const token = BEARER.exec(authorization)?.[1]
  if (token === undefined) throw new Unauthenticated('Send Authorization: Bearer <access token>.')
  return token
}

function principalFrom({ config }: Deps, claims: Claims, row: SessionRow): Principal {
  return {
    userId: claims.sub,
    sessionId: claims.sid,
    role: row.role,
    permissions: permissionsOf(row.role),
    mustChangePassword: row.must_change_password,
    mustSetUpFactor: config.production && row.staff_has_factor === false,
    signedInAt: row.opened_at,
    isVerified: row.is_verified,
    entitlement: {
      planId: row.plan_id,
      tier: row.tier,
      maxDevices: row.max_devices,
      maxConnections: row.max_connections,
      expiresAt: row.plan_expires_at,
    },
    sessionExpiresAt: row.expires_at,
    credentialExpiresAt: new Date(claims.exp * 1000),
  }
}

/** The live session the claims name, or undefined once it ended or its user is switched off. */
export async function principalFor(deps: Deps, claims: Claims): Promise<Principal | undefined> {
  const row = await liveSession(deps.db, claims.sid, claims.sub)
  return row && principalFrom(deps, claims, row)
}

async function judgeToken(deps: Deps, token: string, read: SessionRead) {
  const claims = await deps.tokens.verify(token)
  const row = await read(deps.db, claims.sid, claims.sub)
  if (!row) throw new Unauthenticated('The session has ended. Sign in again.')
  return { principal: principalFrom(deps, claims, row), row }
}

/** @throws {TokenExpired} {Unauthenticated} */
export const authenticateToken = async (deps: Deps, token: string): Promise<Principal> =>
  (await judgeToken(deps, token, liveSession)).principal

type During = Pick<FastifyContextConfig, 'duringPasswordChange' | 'duringFactorSetup'>

/** @param during what the route allows to who has a duty to do first @throws {Forbidden} */
export function assertMay(principal: Principal, needs: string, during: During = {}): void {
  if (principal.mustChangePassword && !during.duringPasswordChange)
    throw new Forbidden('Change your password first: PATCH /api/v1/users/me/password.')
  if (principal.mustSetUpFactor && !principal.mustChangePassword && !during.duringFactorSetup)
    throw new Forbidden('Set up a second factor first: POST /api/v1/auth/2fa/setup, or a passkey.')
  if (!isPermission(needs) || !principal.permissions.has(needs)) throw new Forbidden()
}

async function signIn(deps: Deps, req: FastifyRequest, reply: FastifyReply): Promise<Principal> {
  try {
    const token = bearerOf(req.headers.authorization)
    if (token === undefined) throw new Unauthenticated()
    const { principal, row } = await judgeToken(deps, token, req.routeOptions.config.readSession ?? liveSession)
    req.principal = principal
    req.sessionRow = row
    return principal
  } catch (error) {
    if (error instanceof Error && 'status' in error && error.status === 401)
      reply.header('www-authenticate', req.headers.authorization ? 'Bearer error="invalid_token"' : 'Bearer')
    throw error
  }
}

/** The hook in front of every route that is not public: 401, then 403. A route that says nothing is closed. */
export const authenticate =
  (deps: Deps): onRequestAsyncHookHandler =>
  async (req, reply) => {
    const { config } = req.routeOptions
    if (config.needs === 'public') return
    assertMay(await signIn(deps, req, reply), config.needs ?? '', config)
  }

/** Prepares the app for principals; from here on a route that needs an unknown permission does not start. */
export function usePrincipals(app: App): void {
  app.decorateRequest('principal', undefined)
  app.decorateRequest('sessionRow', undefined)
  app.addHook('onRoute', ({ config, url, method }) => {
    const needs = config?.needs
    if (needs !== undefined && needs !== 'public' && !isPermission(needs))
      throw new Error(`route ${String(method)} ${url} needs '${needs}', which is no permission`)
  })
}
