import * as client from 'openid-client'
import { newId } from '../../../platform/ids.ts'
import { PASSWORD, PUBLIC_URL, type House } from '../../testing/house.ts'
import { Browser, type Page } from './browser.ts'

export const NATIVE = {
  client_id: 'desk-app',
  name: 'Desk <App>',
  kind: 'native',
  redirect_uris: ['http://127.0.0.1/callback', 'http://[::1]/callback', 'com.example.desk:/callback'],
}
export const DEVICE = { client_id: 'tv-app', name: 'TV', kind: 'device', redirect_uris: [] }
export const REDIRECT = 'http://127.0.0.1:53311/callback'
export const SCOPES = 'openid email offline_access vpn'

/** What a library that we did not write does with `fetch`, over `inject`. */
export const fetchOver =
  (house: Pick<House, 'app'>): client.CustomFetch =>
  async (url, { method, headers, body }) => {
    const { pathname, search } = new URL(url)
    const payload = body instanceof URLSearchParams ? body.toString() : (body as string | undefined)
    const answer = await house.app.inject({
      method: method as 'GET' | 'POST',
      url: pathname + search,
      headers,
      ...(payload === undefined || payload === null ? {} : { payload }),
    })
    return new Response(answer.body === '' ? null : answer.body, {
      status: answer.statusCode,
      headers: answer.headers as Record<string, string>,
    })
  }

/** The client library, set up from our discovery document alone. */
export async function library(house: Pick<House, 'app'>, clientId = NATIVE.client_id): Promise<client.Configuration> {
  const config = await client.discovery(new URL(PUBLIC_URL), clientId, undefined, client.None(), {
    execute: [client.allowInsecureRequests],
    [client.customFetch]: fetchOver(house),
  })
  config[client.customFetch] = fetchOver(house)
  return config
}

/** Registers the two apps, behind the API's back. */
export async function registerApps({ database }: Pick<House, 'database'>): Promise<void> {
  for (const { client_id, name, kind, redirect_uris } of [NATIVE, DEVICE])
    await database.sql`
      insert into oauth_clients (client_id, name, kind, redirect_uris, scopes)
      values (${client_id}, ${name}, ${kind}, ${redirect_uris}, '{openid,email,offline_access,vpn,account}')`
}

export type Begun = { url: string; verifier: string; state: string; nonce: string }

export async function begin(config: client.Configuration, more: Record<string, string> = {}): Promise<Begun> {
  const verifier = client.randomPKCECodeVerifier()
  const [state, nonce] = [`${newId()}~ä b`, newId()]
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: REDIRECT,
    scope: SCOPES,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
    ...more,
  })
  return { url: url.href, verifier, state, nonce }
}

/** Signs in on the page where the browser stands. */
export const signIn = (browser: Browser, page: Page, email: string, password = PASSWORD): Promise<Page> =>
  browser.submit(page, '/login', { email, password })

export const allow = (browser: Browser, page: Page): Promise<Page> =>
  browser.submit(page, '/consent', { decision: 'allow' })

/** A whole authorization, to the tokens. */
export async function authorize(house: House, email: string, more: Record<string, string> = {}) {
  const config = await library(house)
  const begun = await begin(config, more)
  const browser = new Browser(house)
  const signedIn = await signIn(browser, await browser.go(begun.url), email)
  const back = await allow(browser, signedIn)
  const tokens = await client.authorizationCodeGrant(config, new URL(back.url), {
    pkceCodeVerifier: begun.verifier,
    expectedState: begun.state,
    expectedNonce: begun.nonce,
    idTokenExpected: true,
  })
  return { config, browser, begun, back, tokens }
}
