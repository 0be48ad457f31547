import type { FastifyBaseLogger } from 'fastify'
import type { Bindings, ChildLoggerOptions } from 'pino'

/** What pino's writing functions take: an object or a text first, then what is filled in. */
type Line = [first: unknown, ...rest: unknown[]]

/**
 * A request's log: the server's with the request's id on each line. The child is made with the first line; most requests
 * write none but their last, and making one (which looks for secrets in its bindings) costs a tenth of a small request.
 */
export class RequestLog implements FastifyBaseLogger {
  readonly #parent: FastifyBaseLogger
  readonly #bindings: Bindings
  #child: FastifyBaseLogger | undefined

  constructor(parent: FastifyBaseLogger, bindings: Bindings) {
    this.#parent = parent
    this.#bindings = bindings
  }

  get #own(): FastifyBaseLogger {
    return (this.#child ??= this.#parent.child(this.#bindings))
  }
  get level(): string {
    return this.#parent.level
  }
  child(bindings: Bindings, options?: ChildLoggerOptions): FastifyBaseLogger {
    return this.#own.child(bindings, options)
  }
  #write(level: 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent', line: Line): void {
    const own = this.#own
    Reflect.apply(own[level], own, line)
  }
  fatal(...line: Line): void {
    this.#write('fatal', line)
  }
  error(...line: Line): void {
    this.#write('error', line)
  }
  warn(...line: Line): void {
    this.#write('warn', line)
  }
  info(...line: Line): void {
    this.#write('info', line)
  }
  debug(...line: Line): void {
    this.#write('debug', line)
  }
  trace(...line: Line): void {
    this.#write('trace', line)
  }
  silent(...line: Line): void {
    this.#write('silent', line)
  }
}
