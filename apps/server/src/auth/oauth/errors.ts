import type { FastifyReply, FastifyRequest } from 'fastify'
import { oauthError, oauthErrorCode, toAppError, type App } from '../../platform/http/index.ts'
import type { AppError } from '../../platform/errors.ts'
import { errorText } from './pages/error.ts'
import { pagePolicy } from './pages/layout.ts'

function prepare(error: unknown, req: FastifyRequest, reply: FastifyReply): AppError {
  const known = toAppError(error)
  if (known.status >= 500) req.log.error({ err: known.cause ?? error }, 'request failed')
  reply.headers(known.headers)
  if (known.more.retry_after !== undefined) reply.header('retry-after', String(known.more.retry_after))
  reply.code(known.status)
  return known
}

/** Programs hear faults as RFC 6749 says. */
export function answerOAuthErrors(app: App): void {
  app.setErrorHandler((error, req, reply) => {
    const known = prepare(error, req, reply)
    reply.type('application/json; charset=utf-8').serializer(JSON.stringify).send(oauthError(known))
  })
}

export const sendPage = (reply: FastifyReply, text: string, redirectUri?: string): FastifyReply =>
  reply
    .header('content-security-policy', pagePolicy(redirectUri))
    .type('text/html; charset=utf-8')
    .serializer(String)
    .send(text)

/** People see faults as pages. */
export function answerErrorPages(app: App): void {
  app.setErrorHandler((error, req, reply) => {
    const known = prepare(error, req, reply)
    sendPage(reply, errorText(oauthErrorCode(known), known.message))
  })
}
