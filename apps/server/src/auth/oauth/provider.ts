import {
  errors,
  interactionPolicy,
  Provider,
  type Configuration,
  type ErrorOut,
  type KoaContextWithOIDC,
} from 'oidc-provider'
import { AUDIENCE } from '../token/access.ts'
import type { TokenKeys } from '../token/keys.ts'
import type { Parts } from '../parts.ts'
import { PostgresAdapter } from './adapter.ts'
import { sha256 } from './artifact-store.ts'
import { OIDC_SCOPES } from './client-metadata.ts'
import { clientById } from './client-store.ts'
import { sessionOfGrant } from './grant-store.ts'
import { confirmDevice, deviceDone, enterCode } from './pages/device.ts'
import { errorPage } from './pages/error.ts'
import { isStepLost } from './twins.ts'

/** Scopes of our API. */
export const API_SCOPES = ['vpn', 'account', 'staff']
/** Seconds; RFC 9700 asks for a short one. */
const CODE_LIFE_S = 60
export const DEVICE_CODE_LIFE_S = 600
/** Seconds a device waits between two questions, RFC 8628, 3.2. */
export const POLL_SECONDS = 5
/** Seconds for each page. */
export const PAGE_LIFE_S = 600
const DAY_S = 86_400
/** A session's own absolute end comes first for staff. */
const GRANT_LIFE_S = 90 * DAY_S

export type OAuthParts = Parts & { keys: TokenKeys }

/** The API as a resource (RFC 8707): every access token is for it alone. */
export const resourceOf = (publicUrl: string): string => `${publicUrl}/api/v1`

/** Signing in is a part of each authorization: no cookie of an earlier one stands for it. */
function policy() {
  const prompts = interactionPolicy.base()
  const anew = new interactionPolicy.Check(
    'sign_in_anew',
    'the End-User signs in for each authorization',
    (ctx) => ctx.oidc.result?.login === undefined,
  )
  prompts.get('login')?.checks.add(anew)
  return prompts
}

/** How access tokens are signed: as our own are. */
function signing({ keys }: OAuthParts) {
  return keys.algorithm === 'HS256'
    ? { alg: 'HS256' as const, key: keys.signing.key, kid: keys.signing.id }
    : { alg: 'EdDSA' as const, kid: keys.signing.id }
}

const cookieNames = (secure: boolean) => ({
  session: secure ? '__Host-prime_oauth' : 'prime_oauth',
  interaction: secure ? '__Secure-prime_oauth_page' : 'prime_oauth_page',
  resume: secure ? '__Secure-prime_oauth_resume' : 'prime_oauth_resume',
})

/** The session that a token belongs to. @throws {InvalidGrant} it ended */
async function sessionOf({ db }: OAuthParts, grantId: string | undefined) {
  const session = grantId === undefined ? undefined : await sessionOfGrant(db, sha256(grantId))
  if (!session) throw new errors.InvalidGrant('the session has ended')
  return session
}

function configuration(parts: OAuthParts, secure: boolean): Configuration {
  const { db, config, secrets, publicUrl } = parts
  const [idTokenKey] = secrets.tokenSigning
  if (!idTokenKey) throw new Error('the secrets file has no token key')
  const api = resourceOf(publicUrl)
  return {
    adapter: (model: string) => new PostgresAdapter(parts, model),
    jwks: { keys: [{ ...idTokenKey.private_jwk, kid: idTokenKey.id, alg: 'EdDSA', use: 'sig' }] },
    routes: {
      authorization: '/oauth/authorize',
      token: '/oauth/token',
      revocation: '/oauth/revoke',
      jwks: '/oauth/jwks',
      device_authorization: '/oauth/device_authorization',
      code_verification: '/oauth/device',
    },
    scopes: OIDC_SCOPES.filter((scope) => scope !== 'email'),
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    // Without a userinfo endpoint what `email` allows stands in the id_token.
    conformIdTokenClaims: false,
    responseTypes: ['code'],
    clientAuthMethods: ['none'],
    clientDefaults: { token_endpoint_auth_method: 'none', id_token_signed_response_alg: 'EdDSA' },
    enabledJWA: { idTokenSigningAlgValues: ['EdDSA'] },
    allowOmittingSingleRegisteredRedirectUri: false,
    clockTolerance: 0,
    pkce: { required: () => true },
    cookies: {
      names: cookieNames(secure),
      long: { httpOnly: true, sameSite: 'lax' },
      short: { httpOnly: true, sameSite: 'lax' },
      keys: [secrets.derive('oauth-cookies').toString('base64url')],
    },
    features: {
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      dPoP: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
      deviceFlow: {
        enabled: true,
        charset: 'base-20',
        mask: '****-****',
        deviceInfo: () => ({}),
        userCodeInputSource: enterCode,
        userCodeConfirmSource: confirmDevice,
        successSource: deviceDone,
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => api,
        useGrantedResource: () => true,
        async getResourceServerInfo(_ctx, resource, client) {
          if (resource !== api) throw new errors.InvalidTarget('there is no such resource here')
          const known = await clientById(db, client.clientId)
          return {
            scope: (known?.scopes ?? []).filter((scope) => API_SCOPES.includes(scope)).join(' '),
            audience: AUDIENCE,
            accessTokenFormat: 'jwt' as const,
            jwt: { sign: signing(parts) as never },
          }
        },
      },
    },
    interactions: { policy: policy(), url: (_ctx, interaction) => `/oauth/interaction/${interaction.uid}` },
    // A consent is asked for each time, and opens a session of its own.
    async loadExistingGrant(ctx) {
      const grantId = ctx.oidc.result?.consent?.grantId
      return grantId === undefined ? undefined : ctx.oidc.provider.Grant.find(grantId)
    },
    rotateRefreshToken: true,
    expiresWithSession: () => false,
    async findAccount(_ctx, sub, token) {
      const grantId = (token as { grantId?: string } | undefined)?.grantId
      const session = grantId === undefined ? null : await sessionOfGrant(db, sha256(grantId))
      if (session === undefined || (session && session.user_id !== sub)) return undefined
      return {
        accountId: sub,
        claims: () => ({ sub, ...(session ? { email: session.email, email_verified: session.is_verified } : {}) }),
      }
    },
    async extraTokenClaims(_ctx, token) {
      const { session_id, role } = await sessionOf(parts, (token as { grantId?: string }).grantId)
      return { sid: session_id, role }
    },
    ttl: {
      AccessToken: config.ACCESS_TOKEN_EXPIRE_MINUTES * 60,
      AuthorizationCode: CODE_LIFE_S,
      DeviceCode: DEVICE_CODE_LIFE_S,
      IdToken: 3_600,
      RefreshToken: config.REFRESH_TOKEN_EXPIRE_DAYS * DAY_S,
      Grant: GRANT_LIFE_S,
      Interaction: PAGE_LIFE_S,
      Session: PAGE_LIFE_S,
    },
    clientBasedCORS: () => false,
    renderError(ctx, out) {
      ctx.remove('location')
      if (isStepLost()) ctx.remove('set-cookie')
      errorPage(ctx, out)
    },
  }
}

/** Where origins may call from is our own matter (`CORS_ORIGINS`); the provider would allow all. */
async function keepOwnHeaders(ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> {
  const allowed = ctx.response.get('access-control-allow-origin')
  await next()
  if (!allowed) ctx.remove('access-control-allow-origin')
  if (!allowed) ctx.remove('access-control-expose-headers')
  const body = ctx.body as { device_code?: string; interval?: number } | undefined
  // The provider leaves it out; then a client may assume 5 (RFC 8628, 3.2), and some do not.
  if (ctx.path === '/oauth/device_authorization' && body?.device_code !== undefined) body.interval = POLL_SECONDS
}

/** What the provider throws after its own handling of errors when a page's cookie is dead. */
const isDeadPage = (error: unknown): boolean =>
  error instanceof TypeError && error.message.includes('previously persisted Sessions')

/** Koa would answer plain text and drop our headers. */
const answerFaults =
  ({ log }: Parts) =>
  async (ctx: KoaContextWithOIDC, next: () => Promise<void>): Promise<void> => {
    try {
      await next()
    } catch (error) {
      const isDead = isDeadPage(error)
      if (!isDead) log.error({ err: error }, 'the OAuth provider failed')
      ctx.status = isDead ? 400 : 500
      // The provider may have set them before it failed: nothing of it goes out.
      ctx.remove('set-cookie')
      ctx.remove('location')
      const out: ErrorOut = isDead
        ? { error: 'invalid_request', error_description: 'the page has expired' }
        : { error: 'server_error', error_description: 'something went wrong' }
      if (ctx.accepts('json', 'html') === 'html') errorPage(ctx, out)
      else ctx.body = out
    }
  }

/** The certified library, set up as this service needs it. What it does not do stands in the files beside (README). */
export function createProvider(parts: OAuthParts): Provider {
  const secure = parts.publicUrl.startsWith('https:')
  const provider = new Provider(parts.publicUrl, configuration(parts, secure))
  // Scheme and host come from the stand-in request, which takes them from PUBLIC_URL.
  provider.proxy = true
  provider.use(keepOwnHeaders as never)
  provider.use(answerFaults(parts) as never)
  const report = (_ctx: unknown, err: unknown): void => parts.log.error({ err }, 'the OAuth provider failed')
  provider.on('server_error', report)
  const koa: NodeJS.EventEmitter = provider
  koa.on('error', (err: unknown) => report(null, err))
  return provider
}
