import type { FastifyBaseLogger } from 'fastify'
import type { Bindings, ChildLoggerOptions, LogFn } from 'pino'

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
  get fatal(): LogFn {
    return this.#own.fatal.bind(this.#own)
  }
  get error(): LogFn {
    return this.#own.error.bind(this.#own)
  }
  get warn(): LogFn {
    return this.#own.warn.bind(this.#own)
  }
  get info(): LogFn {
    return this.#own.info.bind(this.#own)
  }
  get debug(): LogFn {
    return this.#own.debug.bind(this.#own)
  }
  get trace(): LogFn {
    return this.#own.trace.bind(this.#own)
  }
  get silent(): LogFn {
    return this.#own.silent.bind(this.#own)
  }
}
