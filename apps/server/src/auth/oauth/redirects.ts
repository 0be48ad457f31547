import type { ClientKind } from './client-store.ts'

/** RFC 8252, 7.3: the address literals of loopback; `localhost` may be anything. */
const LOOPBACK = /^http:\/\/(?:127\.0\.0\.1|\[::1\])(?::(\d*))?(?=[/?]|$)/
const PORT = /^[1-9]\d{0,4}$/
/** RFC 8252, 7.1: a domain in reverse, so that two apps do not claim one. */
const PRIVATE_SCHEME = /^[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)+:$/
const MAX_LENGTH = 500

const isPort = (text: string | undefined): boolean => text === undefined || (PORT.test(text) && Number(text) <= 65_535)

/**
 * What is wrong with a redirect to register, or null. Only the one canonical spelling is taken, so that comparing text is
 * comparing targets.
 */
export function redirectFault(kind: ClientKind, uri: string): string | null {
  if (uri.length > MAX_LENGTH || /[\s*\\#]|[^\x21-\x7e]/.test(uri))
    return 'must be a plain address without wildcard or fragment'
  const url = URL.canParse(uri) ? new URL(uri) : null
  if (!url || url.href !== uri) return 'must be an absolute address in its canonical spelling'
  if (url.username || url.password) return 'must not hold a user name'
  if (/(?:^|\/)(?:\.|%2e){1,2}(?:[/?]|$)/i.test(uri.slice(url.protocol.length))) return 'must not hold dot segments'
  const loopback = LOOPBACK.exec(uri)
  if (url.protocol === 'https:') return null
  if (kind === 'web') return 'must be https'
  if (loopback) return isPort(loopback[1]) ? null : 'must have a port from 1 to 65535, or none'
  if (PRIVATE_SCHEME.test(url.protocol)) return null
  return 'must be https, http://127.0.0.1, http://[::1], or a private scheme such as com.example.app:/callback'
}

const withoutPort = (uri: string): string | null => {
  const found = LOOPBACK.exec(uri)
  if (!found || !isPort(found[1])) return null
  const [whole, port] = found
  return port === undefined ? uri : whole.slice(0, -port.length - 1) + uri.slice(whole.length)
}

/** Exact text; only the port of a loopback literal is free (RFC 8252, 7.3). */
export function redirectMatches(registered: readonly string[], given: string): boolean {
  if (registered.includes(given)) return true
  const bare = withoutPort(given)
  return bare !== null && registered.some((uri) => withoutPort(uri) === bare)
}
