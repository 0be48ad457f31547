/** Forgets tracked flows, one run at a time; what comes meanwhile shares the next run. */
export type Flusher = {
  /** Rejects when the flows could not be forgotten; the addresses are then kept and part of every later run. */
  flush: (addresses: readonly string[]) => Promise<void>
  /** Resolves when none of these addresses is waiting or under way. */
  of: (addresses: readonly string[]) => Promise<unknown>
  /** Tries again what failed; does nothing when nothing did. */
  retry: () => Promise<void>
}

/** @param run forgets the flows of a list of addresses; never called twice at once */
export function flusherOf(run: (addresses: readonly string[]) => Promise<void>): Flusher {
  const pending = new Map<string, Promise<void>>()
  const failed = new Set<string>()
  let next: { addresses: string[]; done: Promise<void> } | null = null
  let last: Promise<unknown> = Promise.resolve()

  const runNow = async (addresses: readonly string[]): Promise<void> => {
    for (const address of addresses) failed.add(address)
    const all = [...failed]
    await run(all)
    for (const address of all) failed.delete(address)
  }
  const enter = (addresses: readonly string[]): Promise<void> => {
    if (!next) {
      const mine = { addresses: [] as string[], done: Promise.resolve() }
      mine.done = last.then(() => {
        next = null
        return runNow(mine.addresses)
      })
      last = mine.done.catch(() => undefined)
      next = mine
    }
    next.addresses.push(...addresses)
    return next.done
  }
  const flush = async (addresses: readonly string[]): Promise<void> => {
    if (addresses.length === 0) return
    const done = enter(addresses)
    for (const address of addresses) pending.set(address, done)
    await done.finally(() => {
      for (const address of addresses) if (pending.get(address) === done) pending.delete(address)
    })
  }
  return {
    flush,
    of: (addresses) => Promise.allSettled(addresses.flatMap((address) => pending.get(address) ?? [])),
    retry: () => (failed.size === 0 ? Promise.resolve() : enter([])),
  }
}
