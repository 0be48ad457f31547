import { decodeJwt } from 'jose'
import { Unauthenticated } from '../../platform/errors.ts'
import { endGrantAndTell } from './adapter.ts'
import { clientById } from './client-store.ts'
import type { Form } from './forms.ts'
import { grantOfSession } from './grant-store.ts'
import type { OAuthParts } from './provider.ts'

export const looksLikeJwt = (token: string): boolean => token.split('.').length === 3

/**
 * Revokes by an access token, which the provider cannot: it does not keep them. Ends the whole grant. A token that is not
 * valid, or another app's, changes nothing (RFC 7009, 2.2).
 * @throws {Unauthenticated} no such app
 */
export async function revokeByAccessToken(parts: OAuthParts, { token = '', client_id = '' }: Form): Promise<void> {
  if (!(await clientById(parts.db, client_id))) throw new Unauthenticated('client_id is missing or not registered')
  const claims = await parts.tokens.verify(token).catch(() => undefined)
  if (!claims || decodeJwt(token).client_id !== client_id) return
  const grant = await grantOfSession(parts.db, claims.sid, client_id)
  if (grant) await endGrantAndTell(parts, grant)
}
