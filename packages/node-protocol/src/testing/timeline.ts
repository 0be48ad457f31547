interface Entry {
  at: number
  order: number
  run: () => void
}

/** Virtual time: what is planned runs in order of its moment, without waiting. */
export class Timeline {
  /** Monotonic ms. */
  now = 0
  #order = 0
  #heap: Entry[] = []

  /** Plans `run` in `delay` ms. */
  after(delay: number, run: () => void): void {
    const entry = { at: this.now + Math.max(0, delay), order: this.#order++, run }
    this.#heap.push(entry)
    let index = this.#heap.length - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!this.#before(index, parent)) break
      this.#swap(index, parent)
      index = parent
    }
  }

  /** Runs everything planned up to `until`. */
  runUntil(until: number): void {
    for (let first = this.#heap[0]; first && first.at <= until; first = this.#heap[0]) {
      this.#removeFirst()
      this.now = first.at
      first.run()
    }
    this.now = until
  }

  #removeFirst(): void {
    const last = this.#heap.pop()
    if (!last || this.#heap.length === 0) return
    this.#heap[0] = last
    let index = 0
    for (;;) {
      let least = index
      for (const child of [2 * index + 1, 2 * index + 2]) {
        if (child < this.#heap.length && this.#before(child, least)) least = child
      }
      if (least === index) return
      this.#swap(index, least)
      index = least
    }
  }

  #before(a: number, b: number): boolean {
    const [left, right] = [this.#heap[a], this.#heap[b]]
    if (!left || !right) return false
    return left.at < right.at || (left.at === right.at && left.order < right.order)
  }

  #swap(a: number, b: number): void {
    const [left, right] = [this.#heap[a], this.#heap[b]]
    if (!left || !right) return
    this.#heap[a] = right
    this.#heap[b] = left
  }
}
