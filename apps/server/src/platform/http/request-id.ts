import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

const GIVEN = /^[A-Za-z0-9._-]{1,64}$/

export const newRequestId = (): string => `req_${randomBytes(9).toString('base64url')}`

/** The caller's `X-Request-ID` when it is harmless, else a new one. */
export function requestId(req: IncomingMessage): string {
  const given = req.headers['x-request-id']
  return typeof given === 'string' && GIVEN.test(given) ? given : newRequestId()
}
