import type { ClientMetadata } from 'oidc-provider'
import type { Client } from './client-store.ts'

export const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code'
/** OpenID Connect's own scopes; what our API takes are scopes of its resource. */
export const OIDC_SCOPES = ['openid', 'email', 'offline_access']

/** A client as the provider knows it: public, PKCE, only the grants of its kind. */
export function metadataOf(client: Client): ClientMetadata {
  const isDevice = client.kind === 'device'
  return {
    client_id: client.client_id,
    client_name: client.name,
    application_type: client.kind === 'web' ? 'web' : 'native',
    token_endpoint_auth_method: 'none',
    grant_types: [isDevice ? DEVICE_GRANT : 'authorization_code', 'refresh_token'],
    response_types: isDevice ? [] : ['code'],
    redirect_uris: client.redirect_uris,
    id_token_signed_response_alg: 'EdDSA',
    scope: client.scopes.filter((scope) => OIDC_SCOPES.includes(scope)).join(' '),
  }
}
