import pino, { type DestinationStream, type Logger } from 'pino'

export type Log = Logger
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent'

/** What must never be readable in a log line, whatever object it comes with. */
const secret = [
  'authorization',
  'cookie',
  'password',
  'current_password',
  'new_password',
  'hashed_password',
  'token',
  'access_token',
  'refresh_token',
  'ticket',
  'secret',
  'totp',
  'code',
  'private_key',
  'privateKey',
  'preshared_key',
  'presharedKey',
  'wg_config',
  'email',
  'stripe-signature',
  'sec-websocket-protocol',
]
const redact = {
  paths: secret.flatMap((name) => [`["${name}"]`, `*["${name}"]`, `*.*["${name}"]`]),
  censor: '[hidden]',
}

// oxlint-disable-next-line no-control-regex -- they are what is looked for
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/** Text from outside made harmless for a terminal: control, line-separating and direction characters become `\uXXXX`. */
export const printable = (text: string, max = 200): string =>
  text.slice(0, max).replace(UNSAFE, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** An error as a log shows it: its kind, message and stack, never the values a database driver attaches. */
function plainError(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: printable(String(error)) }
  const { code, constraint_name } = error as Error & { code?: unknown; constraint_name?: unknown }
  return {
    type: error.name,
    message: printable(error.message, 500),
    ...(typeof code === 'string' ? { reason: code } : {}),
    ...(typeof constraint_name === 'string' ? { constraint: constraint_name } : {}),
    stack: error.stack
      ?.split('\n')
      .slice(1, 12)
      .map((line) => line.trim()),
    ...(error.cause === undefined ? {} : { cause: plainError(error.cause) }),
  }
}

/** JSON lines with UTC times on stderr; secrets hidden by name, control characters escaped by JSON and `printable`. */
export function createLog(level: LogLevel, to: DestinationStream = pino.destination({ fd: 2, sync: false })): Log {
  return pino(
    {
      level,
      base: null,
      redact,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: plainError },
    },
    to,
  )
}
