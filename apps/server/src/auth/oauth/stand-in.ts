import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Provider } from 'oidc-provider'

/** What of a request the provider gets to see. */
export type Shown = {
  url: string
  /** The form it reads; ours was read before. */
  body?: string
  /** Pages for people, JSON for programs: never by what `Accept` says. */
  answers: 'html' | 'json'
  /** Signing in begins anew: cookies of an earlier flow are left out. */
  withoutCookies?: boolean
}

/**
 * A request in the place of the caller's: host and scheme are those of PUBLIC_URL whatever the caller says, `Origin` is
 * judged by us, the body is there to be read again.
 */
export function standIn(req: FastifyRequest, publicUrl: string, shown: Shown): IncomingMessage {
  const { protocol, host } = new URL(publicUrl)
  const { cookie, 'user-agent': agent, authorization } = req.headers
  const headers: IncomingHttpHeaders = {
    host,
    'x-forwarded-proto': protocol.slice(0, -1),
    accept: shown.answers === 'html' ? 'text/html' : 'application/json',
    ...(cookie !== undefined && !shown.withoutCookies ? { cookie } : {}),
    ...(agent !== undefined ? { 'user-agent': agent } : {}),
    ...(authorization !== undefined ? { authorization } : {}),
    ...(shown.body !== undefined
      ? {
          'content-type': 'application/x-www-form-urlencoded',
          'content-length': String(Buffer.byteLength(shown.body)),
        }
      : {}),
  }
  const stream = Readable.from(shown.body === undefined ? [] : [Buffer.from(shown.body)], { objectMode: false })
  const { method, socket } = req.raw
  return Object.assign(stream, {
    method,
    url: shown.url,
    headers,
    socket,
    connection: socket,
    httpVersion: '1.1',
    httpVersionMajor: 1,
    httpVersionMinor: 1,
  }) as unknown as IncomingMessage
}

/**
 * Lets the provider answer, under the headers that every answer of ours has.
 * @param prepare gets the request the provider will see, to note something on it
 * @returns that request
 */
export async function letProviderAnswer(
  provider: Provider,
  publicUrl: string,
  req: FastifyRequest,
  reply: FastifyReply,
  shown: Shown,
  prepare: (seen: object) => void = () => undefined,
): Promise<object> {
  reply.hijack()
  for (const [name, value] of Object.entries(reply.getHeaders()))
    if (value !== undefined) reply.raw.setHeader(name, value)
  const seen = standIn(req, publicUrl, shown)
  prepare(seen)
  await provider.callback()(seen, reply.raw)
  return seen
}
