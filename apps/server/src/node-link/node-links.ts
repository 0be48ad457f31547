import { CLOSE } from '@prime-vpn/node-protocol'
import type { Counters } from '@prime-vpn/node-protocol'
import { HEARTBEAT_S, NODE_CONFIG, NODE_DISMISSED, type Health } from '../fleet/index.ts'
import type { Sql } from '../platform/db/index.ts'
import type { UpgradeRoute } from '../platform/http/index.ts'
import { newId } from '../platform/ids.ts'
import type { Kv } from '../platform/kv/index.ts'
import type { Log } from '../platform/log.ts'
import { Asks, type Ask } from './asks.ts'
import type { Answer, Command } from './bus-messages.ts'
import { createBus } from './bus.ts'
import { soundHealth } from './heartbeats.ts'
import { NodeLink, type LinkDeps } from './link.ts'
import { linkRoute } from './route.ts'
import type { Question, Verdict } from './slots.ts'
import { serversWithNews } from './store.ts'
import type { DesiredState, NodeRegistry, NodeReport, ReportListener } from './types.ts'
import { RemoteWatches, Watches } from './watches.ts'

const TICK_MS = 1_000
/** A node is looked up again this often, in case the word that it is no longer wanted was lost. */
const RECHECK_MS = 30_000
/** Another instance is told what is watched here this often, and forgets it after three times that. */
const WATCH_TOLD_MS = 5_000
const WATCH_KEPT_MS = 15_000
const ROTATE_WAIT_MS = 1_000
/** Wakes and watches of the same moment are one. */
const SOON_MS = 20

export type NodeLinksDeps = {
  installation: string
  desired: DesiredState
  registry: NodeRegistry
  db: Sql
  kv: Kv
  log: Log
}

export type NodeLinks = {
  /** `WS /node/link`, for the upgrade kit. */
  route: UpgradeRoute
  /**
   * Resolves when the node's kernel holds the peer of this version, or a newer one of the slot. Call it after the commit.
   * `failed`: the node could not, or holds nobody there by now.
   */
  live(serverId: string, slot: number, version: number, timeoutMs: number): Promise<'live' | 'failed' | 'timeout'>
  /**
   * Resolves when the node's kernel no longer holds the peer that this version took away. What it counted is stored by
   * then; `final` is what the node told last, where it told it on this link.
   */
  gone(
    serverId: string,
    slot: number,
    version: number,
    timeoutMs: number,
  ): Promise<{ final: Counters | null } | 'timeout'>
  /** Something was committed for this server's node. */
  wake(serverId: string): void
  /** These slots, by server, are looked at under this key for so long: they are reported every second. Empty: no more. */
  watch(key: string, slots: ReadonlyMap<string, readonly number[]>, forMs: number): void
  /** Reports of nodes linked to this instance, to be stored. */
  onReport(listener: ReportListener): void
  /** Reports of nodes linked to any instance, for watched slots at least; at most once, for the eye. */
  onLive(listener: (report: NodeReport) => void): void
  /** True while this instance holds the link of the server's node. */
  linked(serverId: string): boolean
  /** Asks the node for a new WireGuard key. False when its link is not up anywhere. */
  rotateKey(serverId: string): Promise<boolean>
  /** Tells the node, if it is linked here, that it is no longer wanted. Every instance hears NODE_DISMISSED by itself. */
  dismiss(nodeId: string, reason: string): void
  start(): Promise<void>
  stop(): Promise<void>
}

/** The links of the nodes to this instance, and the way to those of the others. */
export function createNodeLinks(deps: NodeLinksDeps): NodeLinks {
  return new Links(deps)
}

class Links implements NodeLinks {
  readonly route: ReturnType<typeof linkRoute>
  readonly #deps: NodeLinksDeps
  readonly #instance = newId()
  readonly #bus: ReturnType<typeof createBus>
  readonly #asks = new Asks()
  readonly #watches = new Watches()
  readonly #remote = new RemoteWatches()
  readonly #all = new Set<NodeLink>()
  readonly #byServer = new Map<string, NodeLink>()
  readonly #listeners: ReportListener[] = []
  readonly #live: ((report: NodeReport) => void)[] = []
  readonly #beats = new Map<string, Health>()
  readonly #rotations = new Map<number, () => void>()
  readonly #checkedAt = new WeakMap<NodeLink, number>()
  readonly #ends: (() => unknown)[] = []
  #watched = new Map<string, number[]>()
  #watchToldAt = new Map<string, number>()
  #watchSoon: NodeJS.Timeout | undefined
  #polling = false
  #nextRotation = 1

  constructor(deps: NodeLinksDeps) {
    this.#deps = deps
    this.#bus = createBus({ ...deps, instance: this.#instance })
    const linkDeps: LinkDeps = {
      ...deps,
      watched: (serverId) => this.#watchedOf(serverId),
      report: (report) => this.#report(report),
      linked: (link) => this.#linked(link),
      progress: (link) => this.#progress(link),
      health: (link, health) => this.#beat(link, soundHealth(health)),
    }
    this.route = linkRoute({
      open: (ws) => {
        const link = new NodeLink(ws, linkDeps)
        this.#all.add(link)
        return link
      },
      gone: (link) => void this.#gone(link),
      ping: (link, pingMs) => this.#beat(link, { pingMs }),
    })
  }

  async live(serverId: string, slot: number, version: number, timeoutMs: number) {
    const verdict = await this.#ask(serverId, { slot, version, want: 'live' }, timeoutMs)
    if (verdict === 'timeout') return verdict
    return verdict.held ? ('live' as const) : ('failed' as const)
  }

  async gone(serverId: string, slot: number, version: number, timeoutMs: number) {
    const verdict = await this.#ask(serverId, { slot, version, want: 'gone' }, timeoutMs)
    return verdict === 'timeout' ? verdict : { final: verdict.final }
  }

  wake(serverId: string): void {
    const link = this.#byServer.get(serverId)
    if (link) link.step({ type: 'woken' })
    else this.#bus.tellAll({ kind: 'wake', server: serverId })
  }

  watch(key: string, slots: ReadonlyMap<string, readonly number[]>, forMs: number): void {
    this.#watches.set(key, slots, performance.now() + forMs)
    this.#watchSoon ??= setTimeout(() => this.#spreadWatches(), SOON_MS).unref()
  }

  onReport(listener: ReportListener): void {
    this.#listeners.push(listener)
  }

  onLive(listener: (report: NodeReport) => void): void {
    this.#live.push(listener)
  }

  linked(serverId: string): boolean {
    return this.#byServer.has(serverId)
  }

  async rotateKey(serverId: string): Promise<boolean> {
    if (this.#rotateHere(serverId)) return true
    const id = this.#nextRotation++
    return new Promise((resolve) => {
      const timer = setTimeout(() => done(false), ROTATE_WAIT_MS)
      const done = (found: boolean): void => {
        clearTimeout(timer)
        this.#rotations.delete(id)
        resolve(found)
      }
      this.#rotations.set(id, () => done(true))
      this.#bus.tellAll({ kind: 'rotate', server: serverId, from: this.#instance, id })
    })
  }

  dismiss(nodeId: string, reason: string): void {
    for (const link of this.#all) {
      if (link.node?.nodeId === nodeId) link.step({ type: 'dismissed', reason })
    }
  }

  async start(): Promise<void> {
    const { db, kv } = this.#deps
    await this.#bus.start({ command: (command) => this.#obey(command), answer: (answer) => this.#hear(answer) })
    this.#ends.push(
      await kv.subscribe(NODE_DISMISSED, (nodeId) => this.dismiss(nodeId, 'the node was removed or replaced')),
      await kv.subscribe(NODE_CONFIG, (serverId) => void this.#recheck(this.#byServer.get(serverId))),
    )
    const listening = await db.listen(
      'node_changes',
      (serverId) => this.#byServer.get(serverId)?.step({ type: 'woken' }),
      // Also after the connection was lost: what was said meanwhile is read.
      () => this.#byServer.forEach((link) => link.step({ type: 'woken' })),
    )
    const ticks = setInterval(() => this.#tick(), TICK_MS)
    const beats = setInterval(() => void this.#sendBeats(), HEARTBEAT_S * 1000)
    this.#ends.push(
      () => listening.unlisten(),
      () => clearInterval(ticks),
      () => clearInterval(beats),
    )
  }

  /** Closes every link; the nodes dial again, perhaps another instance. Resolves when what they told is stored. */
  async stop(): Promise<void> {
    clearTimeout(this.#watchSoon)
    const links = [...this.#all]
    for (const link of links) link.step({ type: 'end', code: CLOSE.stopping, reason: 'stopping' })
    for (const end of this.#ends.splice(0)) await end()
    this.#asks.stop()
    await Promise.all(links.map((link) => link.settled()))
    await this.#bus.stop()
  }

  #ask(server: string, question: Question, ms: number): Promise<Verdict | 'timeout'> {
    const { ask, answer } = this.#asks.open(server, question, ms, performance.now())
    const link = this.#byServer.get(server)
    if (link) this.#put(ask, link)
    else this.#askElsewhere(ask)
    return answer
  }

  #put(ask: Ask, link: NodeLink): void {
    ask.put = { link: link.id, read: link.nextRead }
    link.step({ type: 'woken' })
    this.#judge(ask, link)
  }

  #askElsewhere({ server, id, slot, version, want, deadline }: Ask): void {
    const ms = Math.max(0, Math.floor(deadline - performance.now()))
    this.#bus.tellAll({ kind: 'ask', server, from: this.#instance, id, slot, version, want, ms })
  }

  #progress(link: NodeLink): void {
    const { node } = link
    if (!node || this.#byServer.get(node.serverId) !== link) return
    for (const ask of this.#asks.of(node.serverId)) {
      if (ask.put?.link === link.id) this.#judge(ask, link)
      else this.#put(ask, link)
    }
  }

  #judge(ask: Ask, link: NodeLink): void {
    const verdict = ask.put && link.verdict(ask, ask.put.read)
    // A removal that failed is tried again by the node.
    if (verdict && !(verdict.failed && ask.want === 'gone')) ask.settle(verdict)
  }

  #linked(link: NodeLink): void {
    const { node } = link
    if (!node) return
    this.route.proved(link)
    this.#byServer.get(node.serverId)?.step({ type: 'end', code: CLOSE.replaced, reason: 'another link was opened' })
    this.#byServer.set(node.serverId, link)
    this.#bus.tellAll({ kind: 'linked', server: node.serverId, from: this.#instance, link: link.id })
    this.#progress(link)
  }

  async #gone(link: NodeLink): Promise<void> {
    const { node } = link
    this.#all.delete(link)
    if (!node) return
    if (this.#byServer.get(node.serverId) === link) this.#byServer.delete(node.serverId)
    this.#beats.delete(node.nodeId)
    await link.settled()
    await this.#deps.registry
      .markUnlinked(node.nodeId, link.id)
      .catch((err: unknown) => this.#deps.log.warn({ err }, 'a lost link could not be noted'))
  }

  async #report(report: NodeReport): Promise<void> {
    for (const listener of this.#live) listener(report)
    this.#reportElsewhere(report)
    await Promise.all(this.#listeners.map(async (listener) => listener(report)))
  }

  #reportElsewhere({ serverId, at, peers, final }: NodeReport): void {
    for (const [instance, slots] of this.#remote.of(serverId, performance.now())) {
      const seen = peers.filter(({ slot }) => slots.has(slot))
      if (seen.length > 0) this.#bus.tell(instance, { kind: 'report', server: serverId, at, peers: seen, final })
    }
  }

  #obey(command: Command): void {
    if ('from' in command && command.from === this.#instance) return
    const link = this.#byServer.get(command.server)
    switch (command.kind) {
      case 'wake':
        return link?.step({ type: 'woken' })
      case 'ask':
        return link && this.#answer(command)
      case 'watch':
        this.#remote.set(command.server, command.from, command.slots, performance.now() + command.ms)
        return this.#watchHere(command.server)
      case 'rotate':
        if (this.#rotateHere(command.server)) this.#bus.tell(command.from, { kind: 'rotated', id: command.id })
        return
      case 'linked':
        // Ids sort by time: of two that were opened at once, one stays.
        if (link && link.id < command.link)
          link.step({ type: 'end', code: CLOSE.replaced, reason: 'another link was opened' })
        for (const ask of this.#asks.of(command.server)) this.#askElsewhere(ask)
    }
  }

  #answer(command: Extract<Command, { kind: 'ask' }>): void {
    void this.#ask(command.server, command, command.ms).then((verdict) => {
      if (verdict !== 'timeout') this.#bus.tell(command.from, { kind: 'settled', id: command.id, verdict })
    })
  }

  #hear(answer: Answer): void {
    switch (answer.kind) {
      case 'settled':
        return this.#asks.byId(answer.id)?.settle(answer.verdict)
      case 'rotated':
        return this.#rotations.get(answer.id)?.()
      case 'report': {
        const { server: serverId, at, peers, final } = answer
        for (const listener of this.#live) listener({ serverId, at, peers, final })
      }
    }
  }

  #rotateHere(serverId: string): boolean {
    const link = this.#byServer.get(serverId)
    link?.step({ type: 'rotate_key' })
    return link !== undefined
  }

  #watchedOf(serverId: string): number[] {
    const slots = new Set(this.#watched.get(serverId))
    for (const [, others] of this.#remote.of(serverId, performance.now())) for (const slot of others) slots.add(slot)
    return [...slots].toSorted((a, b) => a - b)
  }

  #watchHere(serverId: string): void {
    this.#byServer.get(serverId)?.step({ type: 'watch', slots: this.#watchedOf(serverId) })
  }

  /** Tells the links here what is watched, and the other instances what is watched of nodes that are not linked here. */
  #spreadWatches(): void {
    this.#watchSoon = undefined
    const now = performance.now()
    const before = this.#watched
    this.#watched = this.#watches.merged(now)
    for (const server of this.#byServer.keys()) this.#watchHere(server)
    for (const server of new Set([...before.keys(), ...this.#watched.keys()])) {
      if (this.#byServer.has(server)) continue
      const slots = this.#watched.get(server) ?? []
      const same = String(slots) === String(before.get(server) ?? [])
      if (same && now - (this.#watchToldAt.get(server) ?? -Infinity) < WATCH_TOLD_MS) continue
      if (slots.length > 0) this.#watchToldAt.set(server, now)
      else this.#watchToldAt.delete(server)
      this.#bus.tellAll({ kind: 'watch', server, from: this.#instance, slots, ms: WATCH_KEPT_MS })
    }
  }

  #beat(link: NodeLink, health: Omit<Health, 'nodeId' | 'linkId'>): void {
    const { node } = link
    if (!node || !link.linked) return
    this.#beats.set(node.nodeId, { ...this.#beats.get(node.nodeId), ...health, nodeId: node.nodeId, linkId: link.id })
  }

  /** One statement for all nodes, every 10 s. */
  async #sendBeats(): Promise<void> {
    for (const link of this.#byServer.values()) this.#beat(link, {})
    const beats = [...this.#beats.values()]
    this.#beats.clear()
    await this.#deps.registry
      .recordHealth(beats)
      .catch((err: unknown) => this.#deps.log.warn({ err }, 'signs of life could not be noted'))
  }

  #tick(): void {
    for (const link of this.#all) link.tick()
    this.#spreadWatches()
    void this.#poll()
    const now = performance.now()
    for (const link of this.#byServer.values()) {
      const last = this.#checkedAt.get(link)
      if (last === undefined) this.#checkedAt.set(link, now)
      else if (now - last >= RECHECK_MS) void this.#recheck(link)
    }
  }

  /** Finds what no notification told of. */
  async #poll(): Promise<void> {
    if (this.#polling) return
    const told = [...this.#byServer].flatMap(([serverId, link]) =>
      link.restingAt === undefined ? [] : [{ serverId, horizon: link.restingAt }],
    )
    if (told.length === 0) return
    this.#polling = true
    try {
      for (const id of await serversWithNews(this.#deps.db, told)) this.#byServer.get(id)?.step({ type: 'woken' })
    } catch (err) {
      this.#deps.log.warn({ err }, 'changes for nodes could not be looked for')
    } finally {
      this.#polling = false
    }
  }

  /** Is the node still wanted, and set as it was? */
  async #recheck(link: NodeLink | undefined): Promise<void> {
    if (!link?.node) return
    this.#checkedAt.set(link, performance.now())
    try {
      const node = await this.#deps.registry.nodeForLink(link.node.nodeId)
      if (!node) link.step({ type: 'dismissed', reason: 'the node was removed or replaced' })
      else if (link.takeConfig(node)) link.step({ type: 'config', config: node.config })
    } catch (err) {
      this.#deps.log.warn({ err }, 'a node could not be looked up')
    }
  }
}
