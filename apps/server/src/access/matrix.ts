/**
 * Who may call what: reviewed by people, never generated. A test walks the API's document with every role, with API tokens
 * of every scope and with other users' ids, and fails on a route that is not here.
 */
export type Access = {
  /** The least role; every higher one may too. `public`: nobody is asked. */
  who: 'public' | 'user' | 'support' | 'admin' | 'super_admin'
  /** The least scope of a token; `session`: no token, only a session of our own sign-in. */
  by?: 'vpn' | 'account' | 'staff' | 'session'
  /**
   * What another user's object answers, by the id in the path or body; `404` as if it did not exist. `upTo`: higher roles
   * may do it to everybody's, and are not tried.
   */
  foreign?: { status: number; staff?: number; body?: Record<string, string>; upTo?: 'support' }
}

const open: Access = { who: 'public' }
const vpn: Access = { who: 'user', by: 'vpn' }
const account: Access = { who: 'user', by: 'account' }
const session: Access = { who: 'user', by: 'session' }
const support: Access = { who: 'support', by: 'staff' }
const admin: Access = { who: 'admin', by: 'staff' }
const superAdmin: Access = { who: 'super_admin', by: 'staff' }
const own = (access: Access): Access => ({ ...access, foreign: { status: 404 } })
const ownInBody = (access: Access, body: Record<string, string>): Access => ({
  ...access,
  foreign: { status: 404, body },
})

export const MATRIX: Record<string, Access> = {
  // Signing in
  'POST /api/v1/auth/register': open,
  'POST /api/v1/auth/signup': open,
  'POST /api/v1/auth/register-anonymous': open,
  'POST /api/v1/auth/login': open,
  'POST /api/v1/auth/refresh': open,
  'POST /api/v1/auth/verify-email': open,
  'POST /api/v1/auth/resend-verification': open,
  'POST /api/v1/auth/forgot-password': open,
  'POST /api/v1/auth/password-reset': open,
  'POST /api/v1/auth/reset-password': open,
  'POST /api/v1/auth/passkeys/login/options': open,
  'POST /api/v1/auth/passkeys/login/verify': open,
  // Any app ends its own session; an API token is none.
  'POST /api/v1/auth/logout': session,
  'POST /api/v1/auth/logout-all': session,

  // One's own credentials: only by a session of our own sign-in. A CSRF token is for cookies: a bearer is refused (403).
  'GET /api/v1/auth/csrf': { who: 'user', by: 'session' },
  'GET /api/v1/auth/sessions': session,
  'DELETE /api/v1/auth/sessions/{session_id}': own(session),
  'POST /api/v1/auth/2fa/setup': session,
  'POST /api/v1/auth/2fa/enable': session,
  'POST /api/v1/auth/2fa/disable': session,
  'POST /api/v1/auth/2fa/recovery-codes': session,
  'POST /api/v1/auth/passkeys/register/options': session,
  'POST /api/v1/auth/passkeys/register/verify': session,
  'GET /api/v1/auth/passkeys': session,
  'DELETE /api/v1/auth/passkeys/{passkey_id}': own(session),
  'PATCH /api/v1/users/me/password': session,
  'GET /api/v1/users/me/api-tokens': session,
  'POST /api/v1/users/me/api-tokens': session,
  'DELETE /api/v1/users/me/api-tokens/{token_id}': own(session),
  'POST /api/v1/users/me/export': session,
  'GET /api/v1/users/me/export': session,
  'DELETE /api/v1/users/me': session,

  // One's own account, devices and tunnels
  'GET /api/v1/users/me': vpn,
  'PUT /api/v1/users/me': account,
  'GET /api/v1/users/me/devices': vpn,
  'POST /api/v1/users/me/devices': vpn,
  'DELETE /api/v1/users/me/devices/{device_id}': own(vpn),
  'PUT /api/v1/users/me/devices/{device_id}/key': ownInBody(vpn, { public_key: '$key' }),
  'POST /api/v1/users/me/devices/{device_id}/config': own(vpn),
  'GET /api/v1/users/me/devices/{device_id}/config': own(vpn),
  'GET /api/v1/users/me/devices/{device_id}/qr': own(vpn),
  'POST /api/v1/users/me/devices/{device_id}/subscription-url': own(vpn),
  'DELETE /api/v1/users/me/devices/{device_id}/subscription-url': own(vpn),
  'POST /api/v1/vpn/connect': ownInBody(vpn, { device_id: '$device' }),
  'POST /api/v1/connection/connect': ownInBody(vpn, { device_id: '$device' }),
  'POST /api/v1/vpn/disconnect': ownInBody(vpn, { connection_id: '$connection' }),
  'POST /api/v1/connection/disconnect': ownInBody(vpn, { connection_id: '$connection' }),
  'POST /api/v1/vpn/disconnect/{connection_id}': own(vpn),
  'POST /api/v1/connection/disconnect/{connection_id}': own(vpn),
  'GET /api/v1/vpn/status': vpn,
  'GET /api/v1/connection/status': vpn,
  'GET /api/v1/vpn/statistics': vpn,
  'GET /api/v1/connection/statistics': vpn,
  'POST /api/v1/ws/ticket': vpn,
  'GET /api/v1/analytics/usage': vpn,
  'GET /api/v1/analytics/connections': vpn,
  'GET /api/v1/analytics/bandwidth': vpn,

  // The fleet, as customers see it
  'GET /api/v1/servers': vpn,
  'GET /api/v1/vpn/servers': vpn,
  'GET /api/v1/servers/recommended': vpn,
  'GET /api/v1/servers/{id}': vpn,
  'GET /api/v1/analytics/locations': vpn,
  'GET /api/v1/analytics/servers/load': vpn,
  'GET /api/v1/analytics/servers/status': vpn,

  // Money
  'GET /api/v1/subscriptions/plans': open,
  'GET /api/v1/subscriptions/status': account,
  'POST /api/v1/subscriptions/subscribe': account,
  'POST /api/v1/subscriptions/redeem': account,
  'PUT /api/v1/subscriptions/change': account,
  'PUT /api/v1/subscriptions/cancel': account,
  'PUT /api/v1/subscriptions/resume': account,
  'GET /api/v1/billing/history': account,
  'GET /api/v1/billing/invoices/{invoice_id}': own(account),
  'PUT /api/v1/billing/payment-method': account,
  'POST /api/v1/billing/portal': account,
  'POST /api/v1/payments/create': account,
  'POST /api/v1/payments/create-intent': account,
  'POST /api/v1/payments/confirm': ownInBody(account, { payment_intent_id: 'pi_victim' }),
  'POST /api/v1/payments/refund': {
    ...account,
    foreign: { status: 404, upTo: 'support', body: { payment_id: '$payment', reason: 'because' } },
  },
  'GET /api/v1/payments/refund/{refund_id}': { ...account, foreign: { status: 404, staff: 200 } },
  'POST /api/v1/payments/webhook': open,

  // Staff
  'GET /api/v1/users': support,
  'GET /api/v1/users/{user_id}': support,
  'GET /api/v1/admin/users/{id}/payments': support,
  'GET /api/v1/admin/connections': support,
  'GET /api/v1/admin/servers': support,
  'GET /api/v1/admin/servers/{id}': support,
  'GET /api/v1/admin/rate-limits/stats': support,
  'PUT /api/v1/users/{user_id}/status': admin,
  'PUT /api/v1/admin/users/{id}/subscription': admin,
  'POST /api/v1/admin/connections/{connection_id}/disconnect': admin,
  'POST /api/v1/admin/servers': admin,
  'PUT /api/v1/admin/servers/{id}': admin,
  'PATCH /api/v1/admin/servers/{id}': admin,
  'DELETE /api/v1/admin/servers/{id}': admin,
  'POST /api/v1/admin/servers/{id}/drain': admin,
  'POST /api/v1/admin/servers/{id}/enrollment-token': admin,
  'POST /api/v1/admin/servers/{id}/rotate-key': admin,
  'GET /api/v1/admin/bans': admin,
  'POST /api/v1/admin/bans': admin,
  'DELETE /api/v1/admin/bans/{ip}': admin,
  'GET /api/v1/admin/rate-limits/config': admin,
  'GET /api/v1/admin/rate-limits/status/{ip}': admin,
  'DELETE /api/v1/admin/rate-limits/reset/{ip}': admin,
  'GET /api/v1/admin/plans': admin,
  'POST /api/v1/admin/plans': admin,
  'PUT /api/v1/admin/plans/{id}': admin,
  'DELETE /api/v1/admin/plans/{id}': admin,
  'GET /api/v1/admin/vouchers': admin,
  'POST /api/v1/admin/vouchers': admin,
  'GET /api/v1/admin/revenue': admin,
  'GET /api/v1/admin/audit-log': admin,
  'PUT /api/v1/admin/users/{user_id}/role': superAdmin,
  'GET /api/v1/admin/mail-outbox': superAdmin,
  'GET /api/v1/admin/oauth-clients': superAdmin,
  'POST /api/v1/admin/oauth-clients': superAdmin,
  'PUT /api/v1/admin/oauth-clients/{client_id}': superAdmin,
  'DELETE /api/v1/admin/oauth-clients/{client_id}': superAdmin,

  // Nodes, which bring a token of their own
  'POST /api/v1/node/enroll': open,
}

/**
 * What lies outside the document. Where it is `public` no sign-in opens more: what opens it is in the request itself, a
 * code, a token, a page under way with its cookie.
 */
export const DOORS: Record<string, 'public' | 'support'> = {
  'GET /health': 'public',
  'GET /health/live': 'public',
  'GET /health/ready': 'public',
  'GET /health/status': 'support',
  'GET /docs': 'public',
  'GET /docs/start.js': 'public',
  'GET /docs/swagger-ui.css': 'public',
  'GET /docs/swagger-ui.js': 'public',
  'GET /redoc': 'public',
  'GET /redoc/start.js': 'public',
  'GET /redoc/redoc.js': 'public',
  'GET /openapi.json': 'public',
  'GET /favicon.ico': 'public',
  'GET /robots.txt': 'public',
  'GET /apple-touch-icon.png': 'public',
  'GET /apple-touch-icon-precomposed.png': 'public',
  'GET /apple-touch-icon-120x120.png': 'public',
  'GET /apple-touch-icon-120x120-precomposed.png': 'public',
  'GET /apple-touch-icon-152x152.png': 'public',
  'GET /apple-touch-icon-152x152-precomposed.png': 'public',
  'GET /.well-known/appspecific/com.chrome.devtools.json': 'public',
  'GET /.well-known/change-password': 'public',
  'GET /.well-known/resource-that-should-not-exist-whose-status-code-should-not-be-200': 'public',
  'GET /.well-known/passkey-endpoints': 'public',
  'GET /.well-known/traffic-advice': 'public',
  'GET /sub/:token': 'public',
  'GET /.well-known/openid-configuration': 'public',
  'GET /.well-known/oauth-authorization-server': 'public',
  'GET /oauth/jwks': 'public',
  'GET /oauth/authorize': 'public',
  'GET /oauth/authorize/:uid': 'public',
  'GET /oauth/interaction/:uid': 'public',
  'POST /oauth/interaction/:uid/login': 'public',
  'POST /oauth/interaction/:uid/consent': 'public',
  'POST /oauth/interaction/:uid/cancel': 'public',
  'GET /oauth/device': 'public',
  'POST /oauth/device': 'public',
  'GET /oauth/device/:uid': 'public',
  'POST /oauth/device_authorization': 'public',
  'POST /oauth/token': 'public',
  'POST /oauth/revoke': 'public',
}
