import type { IncomingMessage } from 'node:http'
import type { App } from './app-type.ts'
import { AppError, Forbidden, InvalidInput } from '../errors.ts'

export const API_VERSION = '1.0'

/** A page that loads only what we serve; `/docs` and `/redoc` set their own. */
const NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
const HSTS = 'max-age=63072000; includeSubDomains'

/** Headers of every answer, errors included. */
export function securityHeaders(https: boolean): Record<string, string> {
  return {
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'content-security-policy': NOTHING,
    'cross-origin-resource-policy': 'same-origin',
    'x-frame-options': 'DENY',
    'cache-control': 'no-store',
    'x-api-version': API_VERSION,
    ...(https ? { 'strict-transport-security': HSTS } : {}),
  }
}

const VERSION = /^v?(\d{1,4})(?:\.\d{1,4}){0,2}$/

/** 400 when a request names a version of this API that is not 1.x, or none that can be read. */
export function assertVersion(header: string | string[] | undefined): void {
  if (header === undefined) return
  const major = VERSION.exec(String(header).trim())?.[1]
  if (major === undefined || Number(major) !== 1) {
    throw new InvalidInput([{ field: 'X-API-Version', message: `this server speaks ${API_VERSION}` }])
  }
}

/** What follows on such a connection is not trusted either. */
class NotHttp extends AppError {
  override readonly headers = { connection: 'close' }
  constructor(message: string) {
    super('INVALID_INPUT', message)
  }
}

/**
 * 400, and the end of the connection, for what a proxy in front may read in another way than we do (RFC 9112, sections
 * 3.2 and 6.1): no host or two, and any transfer coding but `chunked` alone; HTTP/1.0 knows none. Looks at the raw lines,
 * since Node joins or drops what comes twice.
 */
export function assertOneReading({
  httpVersion,
  rawHeaders,
}: Pick<IncomingMessage, 'httpVersion' | 'rawHeaders'>): void {
  let hosts = 0
  let codings = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? ''
    // By length first: of a dozen names one or two are looked at closely.
    if (name.length === 4 && name.toLowerCase() === 'host') hosts++
    else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding')
      codings += rawHeaders[i + 1]?.toLowerCase() === 'chunked' && httpVersion === '1.1' ? 1 : 2
  }
  if (hosts === 0 && httpVersion === '1.1') throw new NotHttp('The request does not name a host.')
  if (hosts > 1 || codings > 1) throw new NotHttp('The request is not valid HTTP.')
}

/** 403 for what came in the clear although our address is https: a token sent so has been seen. */
export function assertHttps(secure: boolean): void {
  if (!secure) throw new Forbidden('Use https.')
}

/** 400 when the request is for a host we do not answer for; an empty list admits all. */
export function assertHost(host: string | undefined, allowed: readonly string[]): void {
  if (allowed.length === 0) return
  const name = (host ?? '').replace(/:\d+$/, '').toLowerCase()
  const fits = allowed.some((entry) => {
    const wanted = entry.toLowerCase()
    return wanted === '*' || wanted === name || (wanted.startsWith('*.') && name.endsWith(wanted.slice(1)))
  })
  if (!fits) throw new AppError('INVALID_INPUT', 'This server does not answer for that host.')
}

/** Puts the headers on every answer. */
export function useHeaders(app: App, https: boolean): void {
  const headers = securityHeaders(https)
  app.addHook('onRequest', (req, reply, done) => {
    reply.headers(headers).header('x-request-id', req.id)
    done()
  })
}
