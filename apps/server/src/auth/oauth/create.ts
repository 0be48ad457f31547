import type { App } from '../../platform/http/index.ts'
import { sweepArtifacts } from './artifact-store.ts'
import { browserRoutes } from './browser-routes.ts'
import { clientRoutes } from './client-routes.ts'
import { discoveryRoutes } from './discovery.ts'
import { pageRoutes } from './page-routes.ts'
import { createProvider, type OAuthParts } from './provider.ts'
import { tokenRoutes } from './token-routes.ts'

/** Signing in for apps: OAuth 2.1 and OpenID Connect. */
export function createOAuth(parts: OAuthParts): { routes(app: App): void; sweep(): Promise<void> } {
  const provider = createProvider(parts)
  return {
    routes(app) {
      discoveryRoutes(app, parts.publicUrl)
      clientRoutes(app, parts)
      // Each in a context of its own: forms instead of JSON, and errors as its callers expect them.
      for (const add of [browserRoutes, pageRoutes, tokenRoutes])
        void app.register(async (scope) => add(scope as App, parts, provider))
    },
    async sweep() {
      await sweepArtifacts(parts.db)
    },
  }
}
