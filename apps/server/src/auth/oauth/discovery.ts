import { z } from 'zod'
import type { App } from '../../platform/http/index.ts'
import { DEVICE_GRANT, OIDC_SCOPES } from './client-metadata.ts'
import { API_SCOPES, type OAuthParts } from './provider.ts'

const texts = z.array(z.string())
const Metadata = z.object({
  issuer: z.string(),
  authorization_endpoint: z.string(),
  token_endpoint: z.string(),
  revocation_endpoint: z.string(),
  device_authorization_endpoint: z.string(),
  jwks_uri: z.string(),
  scopes_supported: texts,
  claims_supported: texts,
  response_types_supported: texts,
  response_modes_supported: texts,
  grant_types_supported: texts,
  subject_types_supported: texts,
  id_token_signing_alg_values_supported: texts,
  token_endpoint_auth_methods_supported: texts,
  revocation_endpoint_auth_methods_supported: texts,
  code_challenge_methods_supported: texts,
  prompt_values_supported: texts,
  authorization_response_iss_parameter_supported: z.boolean(),
  claims_parameter_supported: z.boolean(),
  request_parameter_supported: z.boolean(),
  request_uri_parameter_supported: z.boolean(),
})

/** What we offer and nothing else (RFC 8414, OpenID Connect Discovery); addresses from PUBLIC_URL, never from a header. */
const metadata = (issuer: string): z.infer<typeof Metadata> => ({
  issuer,
  authorization_endpoint: `${issuer}/oauth/authorize`,
  token_endpoint: `${issuer}/oauth/token`,
  revocation_endpoint: `${issuer}/oauth/revoke`,
  device_authorization_endpoint: `${issuer}/oauth/device_authorization`,
  jwks_uri: `${issuer}/oauth/jwks`,
  scopes_supported: [...OIDC_SCOPES, ...API_SCOPES],
  claims_supported: ['sub', 'email', 'email_verified', 'auth_time', 'iss'],
  response_types_supported: ['code'],
  response_modes_supported: ['query'],
  grant_types_supported: ['authorization_code', 'refresh_token', DEVICE_GRANT],
  subject_types_supported: ['public'],
  id_token_signing_alg_values_supported: ['EdDSA'],
  token_endpoint_auth_methods_supported: ['none'],
  revocation_endpoint_auth_methods_supported: ['none'],
  code_challenge_methods_supported: ['S256'],
  prompt_values_supported: ['none', 'login', 'consent'],
  authorization_response_iss_parameter_supported: true,
  claims_parameter_supported: false,
  request_parameter_supported: false,
  request_uri_parameter_supported: false,
})

export function discoveryRoutes(app: App, { publicUrl }: OAuthParts): void {
  const answer = metadata(publicUrl)
  for (const name of ['openid-configuration', 'oauth-authorization-server']) {
    app.get(
      `/.well-known/${name}`,
      {
        config: { needs: 'public' },
        schema: {
          tags: ['oauth'],
          summary: 'What this authorization server offers',
          querystring: z.looseObject({}),
          response: { 200: Metadata },
        },
      },
      async () => answer,
    )
  }
}
