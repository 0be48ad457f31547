import type { FastifyInstance } from 'fastify'
import { NotFound } from '../../platform/errors.ts'
import type { App } from '../../platform/http/index.ts'
import { sweepArtifacts } from './artifact-store.ts'
import { browserRoutes } from './browser-routes.ts'
import { clientRoutes } from './client-routes.ts'
import { discoveryRoutes } from './discovery.ts'
import { answerOAuthErrors } from './errors.ts'
import { keyRoutes } from './key-routes.ts'
import { pageRoutes } from './page-routes.ts'
import { createProvider, type OAuthParts } from './provider.ts'
import { tokenRoutes } from './token-routes.ts'

/** What is not there, and wrong methods, are told there as everything else is. */
async function refuseUnknown(scope: FastifyInstance): Promise<void> {
  answerOAuthErrors(scope)
  // The hook that knows a path's methods refuses first.
  scope.setNotFoundHandler(() => {
    throw new NotFound('The path')
  })
}

/** Signing in for apps: OAuth 2.1 and OpenID Connect. */
export function createOAuth(parts: OAuthParts): { routes(app: App): void; sweep(): Promise<void> } {
  const provider = createProvider(parts)
  return {
    routes(app) {
      clientRoutes(app, parts)
      // Each in a context of its own: forms instead of JSON, and errors as its callers expect them.
      for (const add of [browserRoutes, pageRoutes, tokenRoutes])
        void app.register(async (scope) => add(scope as App, parts, provider))
      void app.register(async (scope) => {
        answerOAuthErrors(scope)
        for (const add of [discoveryRoutes, keyRoutes]) add(scope, parts)
      })
      for (const prefix of ['/oauth', '/.well-known']) void app.register(refuseUnknown, { prefix })
    },
    async sweep() {
      await sweepArtifacts(parts.db)
    },
  }
}
