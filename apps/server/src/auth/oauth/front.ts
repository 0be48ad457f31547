import { AppError, Forbidden, InvalidInput } from '../../platform/errors.ts'
import type { Db } from '../../platform/db/index.ts'
import { clientById, type Client } from './client-store.ts'
import { redirectMatches } from './redirects.ts'

/** Characters of the whole request for authorization: what is kept of it is bounded. */
const MAX_QUERY = 8_192

type Query = Readonly<Record<string, string>>

/** Nowhere to send the browser: a page says it (RFC 9700: no open redirector). */
export class NoRedirect extends AppError {
  readonly oauthError: string
  constructor(oauthError: string, message: string) {
    super('INVALID_INPUT', message)
    this.oauthError = oauthError
  }
}

/** `offline_access` counts only with the consent that we ask for anyway. */
function promptOf(prompt: string | undefined): string {
  const wanted = (prompt ?? '').split(' ').filter(Boolean)
  return wanted.includes('none') ? 'none' : [...new Set([...wanted, 'consent'])].join(' ')
}

/**
 * What must hold before the provider looks at a request for authorization: who asks, and where the answer may go, as exact
 * text. (The provider would also take loopback ports of 0, none, or with leading zeros.)
 * @returns the query to hand on, or where to send an error
 * @throws {NoRedirect} {InvalidInput}
 */
export async function judgeAuthorization(
  db: Db,
  issuer: string,
  query: Query,
): Promise<{ query: string } | { redirect: string }> {
  if (new URLSearchParams(query).toString().length > MAX_QUERY) throw new InvalidInput([], 'The request is too long.')
  const client = query.client_id === undefined ? undefined : await clientById(db, query.client_id)
  if (!client) throw new NoRedirect('invalid_client', 'client_id is missing or not registered')
  const { redirect_uri: target, response_mode: mode, state } = query
  if (target === undefined || !redirectMatches(client.redirect_uris, target))
    throw new NoRedirect('invalid_redirect_uri', 'redirect_uri is missing or not registered')
  if (mode !== undefined && mode !== 'query') {
    const url = new URL(target)
    for (const [name, value] of Object.entries({ error: 'unsupported_response_mode', state, iss: issuer }))
      if (value !== undefined) url.searchParams.set(name, value)
    return { redirect: url.href }
  }
  return { query: new URLSearchParams({ ...query, prompt: promptOf(query.prompt) }).toString() }
}

/** The app of a sign-in under way. @throws {Forbidden} it, or the address to go back to, was taken off meanwhile */
export async function clientStillRegistered(db: Db, params: { client_id?: unknown; redirect_uri?: unknown }) {
  const client: Client | undefined = await clientById(db, String(params.client_id))
  if (!client) throw new Forbidden('This app is not registered any more.')
  const target = params.redirect_uri
  if (target !== undefined && !(typeof target === 'string' && redirectMatches(client.redirect_uris, target)))
    throw new Forbidden('The address to send you back to is not registered for this app any more.')
  return client
}
