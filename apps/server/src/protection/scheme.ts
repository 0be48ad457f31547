import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'

const lastOf = (list: string): string => list.slice(list.lastIndexOf(',') + 1).trim()

/** The scheme that the nearest proxy says it was asked by: `X-Forwarded-Proto`, else `proto=` of `Forwarded` (RFC 7239). */
function forwardedScheme({ headers }: IncomingMessage): string | undefined {
  const simple = headers['x-forwarded-proto']
  if (simple !== undefined) return lastOf(String(simple)).toLowerCase()
  const element = headers.forwarded === undefined ? '' : lastOf(headers.forwarded)
  return /(?:^|;)\s*proto="?([a-z]+)"?\s*(?:;|$)/i.exec(element)?.[1]?.toLowerCase()
}

/**
 * True when the caller speaks https: TLS on our own socket, or a trusted proxy that says so. What an untrusted peer
 * says of itself changes nothing.
 */
export function arrivesByHttps(req: IncomingMessage, peerIsTrusted: boolean): boolean {
  if ((req.socket as Partial<TLSSocket>).encrypted === true) return true
  return peerIsTrusted && forwardedScheme(req) === 'https'
}
