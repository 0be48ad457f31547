const SLOTS = 50
const TURN_MS = 1_000

/** Calls each member once a second, spread over 50 moments: no burst of ten thousand sends, and one timer for all. */
export class Wheel<T> {
  readonly #slots = Array.from({ length: SLOTS }, () => new Set<T>())
  readonly #at = new Map<T, Set<T>>()
  readonly #visit: (members: Iterable<T>, now: number) => void
  #next = 0
  #timer: NodeJS.Timeout | undefined
  #begun = 0
  #turned = 0

  /** @param visit is handed the members of one moment; now is monotonic ms */
  constructor(visit: (members: Iterable<T>, now: number) => void) {
    this.#visit = visit
  }

  add(member: T): void {
    const slot = this.#slots[this.#next++ % SLOTS]
    if (!slot) return
    slot.add(member)
    this.#at.set(member, slot)
  }

  delete(member: T): void {
    this.#at.get(member)?.delete(member)
    this.#at.delete(member)
  }

  start(): void {
    this.#begun = performance.now()
    this.#turned = 0
    this.#timer = setInterval(() => this.#turn(performance.now()), TURN_MS / SLOTS).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** After a pause of the process each member is visited once, not once for every second missed. */
  #turn(now: number): void {
    const due = Math.floor((now - this.#begun) / (TURN_MS / SLOTS))
    if (due - this.#turned > SLOTS) this.#turned = due - SLOTS
    for (; this.#turned < due; this.#turned++) {
      const slot = this.#slots[this.#turned % SLOTS]
      if (slot && slot.size > 0) this.#visit(slot, now)
    }
  }
}
