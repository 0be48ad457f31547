import type { Limiter, Standing, Wish } from './limiter.ts'
import type { MemoryLimiter } from './memory.ts'

const PROBE_EVERY_MS = 500

type Options = {
  shared: Limiter
  own: MemoryLimiter
  /** Resolves when the shared store answers. */
  ping: () => Promise<unknown>
  onChange?: (shared: boolean) => void
}

/**
 * Judges in the shared store and, when that fails, in-process: nothing is refused or lost because Redis is. After one
 * failure no request asks the store again until a probe of our own has been answered, so that a frozen server costs a
 * time-out once and not for each request.
 */
export class ResilientLimiter implements Limiter {
  readonly #options: Options
  #probe: NodeJS.Timeout | null = null

  constructor(options: Options) {
    this.#options = options
  }

  get shared(): boolean {
    return this.#probe === null
  }

  #lost(): void {
    if (this.#probe) return
    this.#options.onChange?.(false)
    this.#probe = setInterval(() => {
      this.#options.ping().then(
        () => this.#found(),
        () => undefined,
      )
    }, PROBE_EVERY_MS)
    this.#probe.unref()
  }

  #found(): void {
    if (!this.#probe) return
    clearInterval(this.#probe)
    this.#probe = null
    this.#options.onChange?.(true)
  }

  #either(wishes: readonly Wish[], how: 'take' | 'peek'): Standing[] | Promise<Standing[]> {
    const { shared, own } = this.#options
    if (this.#probe) return own[how](wishes)
    return Promise.resolve(shared[how](wishes)).catch(() => {
      this.#lost()
      return own[how](wishes)
    })
  }

  take(wishes: readonly Wish[]): Standing[] | Promise<Standing[]> {
    return this.#either(wishes, 'take')
  }

  peek(wishes: readonly Wish[]): Standing[] | Promise<Standing[]> {
    return this.#either(wishes, 'peek')
  }

  async refund(wishes: readonly Wish[]): Promise<void> {
    if (this.#probe) return this.#options.own.refund(wishes)
    await Promise.resolve(this.#options.shared.refund(wishes)).catch(() => this.#lost())
  }

  async reset(wishes: readonly Wish[]): Promise<void> {
    this.#options.own.reset(wishes)
    if (this.#probe) return
    await Promise.resolve(this.#options.shared.reset(wishes)).catch(() => this.#lost())
  }

  close(): void {
    if (this.#probe) clearInterval(this.#probe)
  }
}
