/**
 * Precise limits. For limit L, window W and burst B: any window of length W admits at most L+B, any k windows in a row at
 * most (k+1)*L+B, whoever keeps to L per window is never refused, and what is refused changes nothing.
 * Why these hold: docs/decisions/0011-rate-limits.md.
 */
export type Limit = {
  /** Requests per window, at least 1. */
  readonly limit: number
  /** Requests that may come on top once. */
  readonly burst: number
  readonly windowMs: number
}

/** One rule applied to one caller. */
export type Wish = {
  /** Short name of the rule; part of the key. */
  readonly rule: string
  /** Names the caller: never a readable address. */
  readonly id: string
  /** What the same caller was named under yesterday's or tomorrow's salt, while its state may still lie there. */
  readonly otherId?: string | undefined
  readonly limit: Limit
}

/** How a rule stands after the judgement. Times are whole milliseconds. */
export type Standing = {
  admitted: boolean
  /** Requests that would be admitted at this moment. */
  remaining: number
  /** Until `remaining` is at least one more than now; 0 when nothing is used. */
  resetMs: number
  /** Until one request is admitted, if nobody else takes it; 0 when one is now. */
  retryMs: number
}

/** Judges all rules of a request at once: it is charged to all of them or, when one refuses, to none. */
export interface Limiter {
  take(wishes: readonly Wish[]): Standing[] | Promise<Standing[]>
  /** The same answer without charging anything. */
  peek(wishes: readonly Wish[]): Standing[] | Promise<Standing[]>
  /** Takes back one charge of each: the newest. */
  refund(wishes: readonly Wish[]): void | Promise<void>
  /** Forgets what was charged. */
  reset(wishes: readonly Wish[]): void | Promise<void>
}

/** Milliseconds, never going back: a monotonic clock or, in Redis, its own. */
export type Now = () => number
