import { AppError } from '../platform/errors.ts'

/**
 * Makes a refusal without a stack: it is an answer, not a fault, and under attack the stack would cost more than the rest
 * of the refusal.
 */
function withoutStack<T extends Error>(make: () => T): T {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    return make()
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}

/** 429 of a rule. `headers` go with the answer where no reply object is at hand (sockets). */
export class RateLimited extends AppError {
  override readonly headers: Readonly<Record<string, string>>
  constructor(retryAfterS: number, headers: Readonly<Record<string, string>> = {}) {
    super('RATE_LIMITED', 'Too many requests. Try again later.', { retry_after: retryAfterS })
    this.headers = headers
  }
}

export const rateLimited = (retryAfterS: number, headers?: Readonly<Record<string, string>>): RateLimited =>
  withoutStack(() => new RateLimited(retryAfterS, headers))

export const BANNED_MESSAGE = 'This address is blocked for now.'

/** 429 of a ban. */
export class IpBanned extends AppError {
  constructor(retryAfterS: number) {
    super('IP_BANNED', BANNED_MESSAGE, { retry_after: retryAfterS })
  }
}

export const ipBanned = (retryAfterS: number): IpBanned => withoutStack(() => new IpBanned(retryAfterS))

/** Whole seconds, rounded up, so that waiting them is enough; at least one. */
export const seconds = (ms: number): number => Math.max(1, Math.ceil(ms / 1000))
