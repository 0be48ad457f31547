import { z } from 'zod'
import type { App } from '../../platform/http/index.ts'
import type { OAuthParts } from './provider.ts'

const Jwk = z.object({
  kty: z.string(),
  crv: z.string(),
  x: z.string(),
  kid: z.string(),
  alg: z.string(),
  use: z.string(),
})

/** The public halves of the keys that sign tokens (RFC 7517); with HS256 those of id_tokens. */
export function keyRoutes(app: App, { keys: { jwks } }: OAuthParts): void {
  app.get(
    '/oauth/jwks',
    {
      config: { needs: 'public' },
      schema: {
        tags: ['oauth'],
        summary: 'Keys that verify our tokens',
        querystring: z.looseObject({}),
        response: { 200: z.object({ keys: z.array(Jwk) }) },
      },
    },
    async () => jwks,
  )
}
