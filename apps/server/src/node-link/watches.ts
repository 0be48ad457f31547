type Watch = { slots: ReadonlyMap<string, readonly number[]>; until: number }

/** Who looks at which slots: entries by key, each until its time. Times are monotonic ms. */
export class Watches {
  readonly #byKey = new Map<string, Watch>()

  /** Replaces what `key` looks at; an empty map ends it. */
  set(key: string, slots: ReadonlyMap<string, readonly number[]>, until: number): void {
    if (slots.size === 0) this.#byKey.delete(key)
    else this.#byKey.set(key, { slots, until })
  }

  /** The slots of each server that somebody looks at now, in ascending order. */
  merged(now: number): Map<string, number[]> {
    const sets = new Map<string, Set<number>>()
    for (const [key, watch] of this.#byKey) {
      if (watch.until <= now) {
        this.#byKey.delete(key)
        continue
      }
      for (const [server, slots] of watch.slots) {
        let set = sets.get(server)
        if (!set) sets.set(server, (set = new Set()))
        for (const slot of slots) set.add(slot)
      }
    }
    return new Map([...sets].map(([server, set]) => [server, [...set].toSorted((a, b) => a - b)]))
  }
}

/** What other instances look at, by server and instance. */
export class RemoteWatches {
  readonly #byServer = new Map<string, Map<string, { slots: ReadonlySet<number>; until: number }>>()

  set(server: string, instance: string, slots: readonly number[], until: number): void {
    const known = this.#byServer.get(server) ?? new Map<string, { slots: ReadonlySet<number>; until: number }>()
    if (slots.length === 0) known.delete(instance)
    else known.set(instance, { slots: new Set(slots), until })
    if (known.size > 0) this.#byServer.set(server, known)
    else this.#byServer.delete(server)
  }

  /** Instances that look at this server now, with their slots. */
  of(server: string, now: number): [instance: string, slots: ReadonlySet<number>][] {
    const found: [string, ReadonlySet<number>][] = []
    for (const [instance, { slots, until }] of this.#byServer.get(server) ?? []) {
      if (until > now) found.push([instance, slots])
      else this.set(server, instance, [], 0)
    }
    return found
  }
}
