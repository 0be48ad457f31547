/** Where time comes from. Handed in wherever behaviour depends on it, so that a test can move it. */
export type Clock = { now(): number }

/** Milliseconds since 1970 from the machine. */
export const systemClock: Clock = { now: () => Date.now() }
