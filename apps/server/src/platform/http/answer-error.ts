import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import postgres from 'postgres'
import { AppError, NotFound, toEnvelope, Unavailable } from '../errors.ts'
import { KvUnavailable } from '../kv/index.ts'

const FRAMEWORK: Record<string, () => AppError> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () => new AppError('TOO_LARGE', 'The body is too large.'),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () =>
    new AppError('UNSUPPORTED_MEDIA_TYPE', 'Send JSON: Content-Type: application/json.'),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () =>
    new AppError('INVALID_INPUT', 'The body does not have the length it announced.'),
  FST_ERR_BAD_URL: () => new AppError('INVALID_INPUT', 'The path is not valid.'),
  FST_ERR_MAX_PARAM_LENGTH: () => new NotFound(),
  FST_ERR_ASYNC_CONSTRAINT: () => new AppError('INVALID_INPUT', 'The request is not valid.'),
}

/** PostgreSQL out of reach, starting, stopping, or out of connections: SQLSTATE classes 08, 53, 57 and the driver's own. */
const DATABASE_AWAY = /^(08|53|57P)|^(CONNECTION_|CONNECT_TIMEOUT|ECONN|ENOENT|EPIPE)/
const UNSTORABLE_TEXT = /^22(021|P05)$/

/** The member of our family that an error of any origin stands for. */
export function toAppError(error: unknown): AppError {
  if (error instanceof AppError) return error
  if (error instanceof KvUnavailable) return new Unavailable('The service is busy. Try again shortly.', error)
  const code = (error as { code?: unknown } | null)?.code
  if (typeof code === 'string') {
    const known = FRAMEWORK[code]
    if (known) return known()
    if (error instanceof postgres.PostgresError && UNSTORABLE_TEXT.test(code))
      return new AppError('INVALID_INPUT', 'The request holds a character that is not allowed.')
    if (DATABASE_AWAY.test(code)) return new Unavailable('The service is not available. Try again shortly.', error)
  }
  return new AppError('INTERNAL', 'Something went wrong on our side.', {}, error)
}

/** Below these everything is told as OAuth's programs expect it, also what no route of theirs has been asked. */
const OAUTH_PATH = /^\/(?:oauth|\.well-known)(?:[/?]|$)/

/** RFC 6749, 5.2: what our own faults are called there. */
export function oauthErrorCode({ status, code }: AppError): string {
  if (status === 429 || status === 503) return 'temporarily_unavailable'
  if (code === 'INTERNAL') return 'server_error'
  return status === 401 ? 'invalid_client' : 'invalid_request'
}

/** The body of a refusal in the form of RFC 6749. */
export const oauthError = (known: AppError): { error: string; error_description: string } => ({
  error: oauthErrorCode(known),
  error_description: known.message,
})

/** Fastify's error handler: the only place that answers an error. */
export function answerError(error: FastifyError | AppError, req: FastifyRequest, reply: FastifyReply): void {
  let known = toAppError(error)
  if ((error as { validationContext?: string }).validationContext === 'params') known = new NotFound()
  if (known.status >= 500 && known.code !== 'NO_SERVER_AVAILABLE')
    req.log.error({ err: known.cause ?? error }, 'request failed')
  reply.headers(known.headers)
  if (known.more.retry_after !== undefined) reply.header('retry-after', String(known.more.retry_after))
  reply
    .code(known.status)
    .type('application/json; charset=utf-8')
    .serializer(JSON.stringify)
    .send(OAUTH_PATH.test(req.url) ? oauthError(known) : toEnvelope(known, req.id))
}
