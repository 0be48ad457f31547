/** Runs a slow order on lists of addresses, one at a time; what comes meanwhile shares the next run. */
export type Flusher = {
  flush: (addresses: readonly string[]) => Promise<void>
  /** Resolves when none of these addresses is waiting or under way. */
  of: (addresses: readonly string[]) => Promise<unknown>
}

/** Joins what comes while a flush runs into the next one, and knows which addresses are still under way. */
export function oneAtATime(flush: (addresses: readonly string[]) => Promise<void>): Flusher {
  const pending = new Map<string, Promise<void>>()
  let next: { addresses: string[]; done: Promise<void> } | null = null
  let last: Promise<unknown> = Promise.resolve()
  const enter = (addresses: readonly string[]): Promise<void> => {
    if (!next) {
      const mine = { addresses: [] as string[], done: Promise.resolve() }
      mine.done = last.then(() => {
        next = null
        return flush(mine.addresses)
      })
      last = mine.done.catch(() => undefined)
      next = mine
    }
    next.addresses.push(...addresses)
    return next.done
  }
  return {
    flush: async (addresses) => {
      if (addresses.length === 0) return
      const done = enter(addresses)
      for (const address of addresses) pending.set(address, done)
      await done.finally(() => {
        for (const address of addresses) if (pending.get(address) === done) pending.delete(address)
      })
    },
    of: (addresses) => Promise.allSettled(addresses.flatMap((address) => pending.get(address) ?? [])),
  }
}
