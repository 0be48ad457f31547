/** The contract's error codes and their HTTP status: the one place where they meet (api.md, section 1). */
export const STATUS = {
  INVALID_INPUT: 400,
  UNAUTHENTICATED: 401,
  TOKEN_EXPIRED: 401,
  TOTP_REQUIRED: 401,
  FORBIDDEN: 403,
  EMAIL_NOT_VERIFIED: 403,
  SUBSCRIPTION_REQUIRED: 403,
  DEVICE_LIMIT_REACHED: 403,
  CONNECTION_LIMIT_REACHED: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  CONFLICT: 409,
  TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  RATE_LIMITED: 429,
  IP_BANNED: 429,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  NO_SERVER_AVAILABLE: 503,
} as const

export type Code = keyof typeof STATUS
export type Detail = { field: string; message: string }
export type More = { details?: Detail[]; retry_after?: number }

/** The one family of errors the contract shows. Rooms throw it; only `toReply` answers. */
export class AppError extends Error {
  readonly code: Code
  readonly more: More
  /** Headers that go with the answer, beside those of every answer. */
  readonly headers: Readonly<Record<string, string>> = {}
  constructor(code: Code, message: string, more: More = {}, cause?: unknown) {
    super(message, { cause })
    this.name = 'AppError'
    this.code = code
    this.more = more
  }
  get status(): number {
    return STATUS[this.code]
  }
}

/** 400 with the fields that are wrong. */
export class InvalidInput extends AppError {
  constructor(details: Detail[], message = 'The request is not valid.') {
    super('INVALID_INPUT', message, { details })
  }
}

/** 400 for one named field. */
export const invalidField = (field: string, message: string): InvalidInput => new InvalidInput([{ field, message }])

/** 404; also for somebody else's object, as if it did not exist. */
export class NotFound extends AppError {
  constructor(what = 'The resource') {
    super('NOT_FOUND', `${what} was not found.`)
  }
}

export class Conflict extends AppError {
  constructor(message: string) {
    super('CONFLICT', message)
  }
}

export class Unauthenticated extends AppError {
  constructor(message = 'Sign in first.') {
    super('UNAUTHENTICATED', message)
  }
}

export class Forbidden extends AppError {
  constructor(message = 'You may not do this.') {
    super('FORBIDDEN', message)
  }
}

/** 503: something this call needs is away; nothing was changed. */
export class Unavailable extends AppError {
  constructor(message: string, cause?: unknown) {
    super('UNAVAILABLE', message, {}, cause)
  }
}

export type ErrorEnvelope = { error: { code: Code; message: string; request_id: string } & More }

/** The body of an error answer. Anything that is not of the family is INTERNAL and tells nothing of the inside. */
export function toEnvelope(error: AppError, requestId: string): ErrorEnvelope {
  return { error: { code: error.code, message: error.message, ...error.more, request_id: requestId } }
}
