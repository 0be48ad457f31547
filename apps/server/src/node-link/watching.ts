import type { Command } from './bus-messages.ts'
import type { Bus } from './bus.ts'
import type { NodeLink } from './link.ts'
import type { NodeReport } from './types.ts'
import { RemoteWatches, Watches } from './watches.ts'

/** Another instance is told what is watched here this often, and forgets it after three times that. */
const TOLD_MS = 5_000
const KEPT_MS = 15_000
/** Watches of the same moment are one. */
const SOON_MS = 20

const inOrder = (slots: Iterable<number>): number[] => [...slots].toSorted((a, b) => a - b)

/** Brings to each link what is watched of its node, here and on other instances, and their reports back to those. */
export class Watching {
  readonly #watches = new Watches()
  readonly #remote = new RemoteWatches()
  readonly #bus: Bus
  readonly #instance: string
  readonly #links: ReadonlyMap<string, NodeLink>
  #watched = new Map<string, number[]>()
  readonly #toldAt = new Map<string, number>()
  #soon: NodeJS.Timeout | undefined

  constructor(bus: Bus, instance: string, links: ReadonlyMap<string, NodeLink>) {
    this.#bus = bus
    this.#instance = instance
    this.#links = links
  }

  set(key: string, slots: ReadonlyMap<string, readonly number[]>, forMs: number): void {
    this.#watches.set(key, slots, performance.now() + forMs)
    this.#soon ??= setTimeout(() => this.spread(), SOON_MS).unref()
  }

  /** What is watched of this server now, in ascending order. */
  of(serverId: string): number[] {
    const slots = new Set(this.#watched.get(serverId))
    for (const [, others] of this.#remote.of(serverId, performance.now())) for (const slot of others) slots.add(slot)
    return inOrder(slots)
  }

  /** Another instance watches. */
  setRemote({ server, from, slots, ms }: Extract<Command, { kind: 'watch' }>): void {
    this.#remote.set(server, from, slots, performance.now() + ms)
    this.#tellLink(server)
  }

  /** Tells the instances that watch slots of this report. */
  reportElsewhere({ serverId, at, peers, final }: NodeReport): void {
    for (const [instance, slots] of this.#remote.of(serverId, performance.now())) {
      const seen = peers.filter(({ slot }) => slots.has(slot))
      if (seen.length > 0) this.#bus.tell(instance, { kind: 'report', server: serverId, at, peers: seen, final })
    }
  }

  /** Tells the links here what is watched, and the other instances what is watched of nodes that are not linked here. */
  spread(): void {
    clearTimeout(this.#soon)
    this.#soon = undefined
    const now = performance.now()
    const before = this.#watched
    this.#watched = this.#watches.merged(now)
    for (const server of this.#links.keys()) this.#tellLink(server)
    for (const server of new Set([...before.keys(), ...this.#watched.keys()])) {
      if (!this.#links.has(server)) this.#tellInstances(server, before.get(server) ?? [], now)
    }
  }

  stop(): void {
    clearTimeout(this.#soon)
  }

  #tellLink(server: string): void {
    this.#links.get(server)?.step({ type: 'watch', slots: this.of(server) })
  }

  #tellInstances(server: string, before: readonly number[], now: number): void {
    const slots = this.#watched.get(server) ?? []
    const due = now - (this.#toldAt.get(server) ?? -Infinity) >= TOLD_MS
    if (!due && String(slots) === String(before)) return
    if (slots.length > 0) this.#toldAt.set(server, now)
    else this.#toldAt.delete(server)
    this.#bus.tellAll({ kind: 'watch', server, from: this.#instance, slots, ms: KEPT_MS })
  }
}
