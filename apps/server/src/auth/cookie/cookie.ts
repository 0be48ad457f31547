import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { Forbidden } from '../../platform/errors.ts'
import type { Secrets } from '../../platform/secrets.ts'

const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]'])
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS'])
const CSRF = 'csrf'

export type SessionCookies = {
  /** The cookie's value, undefined when the request has none. */
  read(req: IncomingMessage): string | undefined
  /** A `Set-Cookie` line. @param seconds how long the browser keeps it */
  set(value: string, seconds: number): string
  /** A `Set-Cookie` line that removes it. */
  clear(): string
  /** Whether a page of ours sent the request; undefined when it does not say. */
  isOwnOrigin(req: IncomingMessage): boolean | undefined
  /** What writes carry in `X-CSRF-Token`. @param hash of the cookie's random part */
  csrfToken(sessionId: string, hash: Buffer): string
  /** @throws {Forbidden} a write from elsewhere than our pages, or without the token */
  assertOwnWrite(req: IncomingMessage, sessionId: string, hash: Buffer): void
}

/** Over http only a browser's own machine is trusted, and there `__Host-` and `Secure` cannot be had. */
const isLocalHttp = (url: URL): boolean => url.protocol === 'http:' && LOOPBACK.has(url.hostname)

function valueOf(header: string | undefined, name: string): string | undefined {
  for (const part of header?.split(';') ?? []) {
    const at = part.indexOf('=')
    if (part.slice(0, at).trim() === name) return part.slice(at + 1).trim()
  }
  return undefined
}

/** The cookie that a browser's session hangs on. @param publicUrl where our pages are */
export function sessionCookies(publicUrl: string, secrets: Secrets): SessionCookies {
  const home = new URL(publicUrl)
  const local = isLocalHttp(home)
  const name = local ? 'prime_session' : '__Host-prime_session'
  const line = (value: string, seconds: number): string =>
    `${name}=${value}; Path=/; Max-Age=${seconds}; HttpOnly; SameSite=Strict${local ? '' : '; Secure'}`

  const cookies: SessionCookies = {
    read: (req) => valueOf(req.headers.cookie, name),
    set: line,
    clear: () => line('', 0),
    isOwnOrigin({ headers: { origin, host } }) {
      if (origin === undefined) return undefined
      if (origin === home.origin) return true
      // On one's own machine the same server has several names; the one that was called is ours.
      return local && URL.canParse(origin) && isLocalHttp(new URL(origin)) && new URL(origin).host === host
    },
    csrfToken: (sessionId, hash) =>
      createHmac('sha256', secrets.derive(CSRF)).update(sessionId).update(hash).digest('base64url'),
    assertOwnWrite(req, sessionId, hash) {
      if (SAFE.has(req.method ?? '')) return
      if (cookies.isOwnOrigin(req) !== true) throw new Forbidden('This page may not act for you.')
      const due = Buffer.from(cookies.csrfToken(sessionId, hash))
      const given = Buffer.from(String(req.headers['x-csrf-token'] ?? ''))
      if (given.length !== due.length || !timingSafeEqual(given, due))
        throw new Forbidden('Send X-CSRF-Token from GET /api/v1/auth/csrf.')
    },
  }
  return cookies
}
