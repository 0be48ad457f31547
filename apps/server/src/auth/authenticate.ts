import type { FastifyContextConfig, FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import { isPermission } from '../accounts/index.ts'
import { Forbidden } from '../platform/errors.ts'
import type { App } from '../platform/http/index.ts'
import { judgeRequest, type CredentialDeps } from './credentials.ts'
import type { Principal } from './principal.ts'
import { liveSessions } from './session/store.ts'

type During = Pick<FastifyContextConfig, 'duringPasswordChange' | 'duringFactorSetup'>

/** @param during what the route allows to who has a duty to do first @throws {Forbidden} */
export function assertMay(principal: Principal, needs: string, during: During = {}): void {
  if (principal.mustChangePassword && !during.duringPasswordChange)
    throw new Forbidden('Change your password first: PATCH /api/v1/users/me/password.')
  if (principal.mustSetUpFactor && !principal.mustChangePassword && !during.duringFactorSetup)
    throw new Forbidden('Set up a second factor first: POST /api/v1/auth/2fa/setup, or a passkey.')
  if (!isPermission(needs) || !principal.permissions.has(needs)) throw new Forbidden()
}

async function signIn(deps: CredentialDeps, req: FastifyRequest, reply: FastifyReply): Promise<Principal> {
  try {
    const judged = await judgeRequest(deps, req, req.routeOptions.config.readSession ?? liveSessions)
    req.principal = judged.principal
    if (judged.row) req.sessionRow = judged.row
    return judged.principal
  } catch (error) {
    if (error instanceof Error && 'status' in error && error.status === 401)
      reply.header('www-authenticate', req.headers.authorization ? 'Bearer error="invalid_token"' : 'Bearer')
    throw error
  }
}

/** The hook in front of every route that is not public: 401, then 403. A route that says nothing is closed. */
export const authenticate =
  (deps: CredentialDeps): onRequestAsyncHookHandler =>
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
