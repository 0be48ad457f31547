/** Who a request comes from, as far as overload is concerned. */
export type Traffic = 'anonymous' | 'free' | 'premium'

/** Share of each limit that is in force at each step: anonymous first, then free, premium last. */
export const STEPS: readonly Readonly<Record<Traffic, number>>[] = [
  { anonymous: 1, free: 1, premium: 1 },
  { anonymous: 0.5, free: 1, premium: 1 },
  { anonymous: 0.25, free: 0.5, premium: 1 },
  { anonymous: 0.1, free: 0.25, premium: 0.75 },
  { anonymous: 0.05, free: 0.1, premium: 0.5 },
]

export type Pressure = {
  /** 99th percentile of the event loop's delay since the last look, milliseconds. */
  loopDelayMs: number
  /** How long the database took for a trivial query; null when it was not asked or did not answer. */
  databaseMs: number | null
}

/** Above the first of a pair limits shrink; below the second they may recover; between them nothing moves. */
export const THRESHOLDS = { loopDelayMs: [120, 50], databaseMs: [250, 80] } as const

const SAMPLES_TO_SHRINK = 2
/** Pressure that falls so fast from one look to the next is a queue draining: the last step works, another is not due. */
const FALLING = 0.95
const SAMPLES_TO_RECOVER = 10
/** After a recovery that did not last the next try of the same step waits twice as long, up to this many samples. */
const MAX_SAMPLES_TO_RECOVER = 640
/** A recovery that lasts so many samples was right. */
const LASTED = 60

/** Decides the step from one look a second; knows no clock, so that it can be simulated. */
export class Adaptive {
  #step = 0
  #high = 0
  #low = 0
  #severity = 0
  /** Calm samples asked for before each step is entered from the one above. */
  readonly #patience = STEPS.map(() => SAMPLES_TO_RECOVER)
  #sinceRecovery = Infinity
  readonly enabled: boolean

  constructor(enabled = true) {
    this.enabled = enabled
  }

  get step(): number {
    return this.#step
  }

  factor(traffic: Traffic): number {
    return STEPS[this.#step]?.[traffic] ?? 1
  }

  /** Hears one look. @returns true when the step changed */
  observe({ loopDelayMs, databaseMs }: Pressure): boolean {
    if (!this.enabled) return false
    const severity = Math.max(loopDelayMs / THRESHOLDS.loopDelayMs[0], (databaseMs ?? 0) / THRESHOLDS.databaseMs[0])
    const falling = severity < this.#severity * FALLING
    this.#severity = severity
    const calm = loopDelayMs < THRESHOLDS.loopDelayMs[1] && (databaseMs ?? 0) < THRESHOLDS.databaseMs[1]
    this.#high = severity > 1 && !falling ? this.#high + 1 : 0
    this.#low = calm ? this.#low + 1 : 0
    this.#sinceRecovery++
    if (this.#sinceRecovery === LASTED) this.#patience[this.#step] = SAMPLES_TO_RECOVER
    if (this.#high >= SAMPLES_TO_SHRINK && this.#step < STEPS.length - 1) return this.#shrink()
    if (this.#step > 0 && this.#low >= (this.#patience[this.#step - 1] ?? SAMPLES_TO_RECOVER)) return this.#recover()
    return false
  }

  #shrink(): true {
    // Recovering had been too early: wait longer before this step is tried again.
    if (this.#sinceRecovery < LASTED)
      this.#patience[this.#step] = Math.min(MAX_SAMPLES_TO_RECOVER, (this.#patience[this.#step] ?? 0) * 2)
    this.#sinceRecovery = Infinity
    this.#step++
    this.#high = 0
    return true
  }

  #recover(): true {
    this.#sinceRecovery = 0
    this.#step--
    this.#low = 0
    return true
  }
}
