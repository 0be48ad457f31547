import type { IncomingMessage } from 'node:http'
import { CLOSE, type Counters } from '@prime-vpn/node-protocol'
import { HEARTBEAT_S, NODE_CONFIG, NODE_DISMISSED } from '../fleet/index.ts'
import type { Attempts } from '../platform/attempts.ts'
import type { Sql } from '../platform/db/index.ts'
import type { UpgradeRoute } from '../platform/http/index.ts'
import { newId } from '../platform/ids.ts'
import type { Kv } from '../platform/kv/index.ts'
import type { Log } from '../platform/log.ts'
import type { Answer, Command } from './bus-messages.ts'
import { createBus } from './bus.ts'
import type { Caller } from './gate.ts'
import { Heartbeats, soundHealth } from './heartbeats.ts'
import { NodeLink, type LinkDeps } from './link.ts'
import { Questions } from './questions.ts'
import { Rotations } from './rotations.ts'
import { linkRoute } from './route.ts'
import { serversWithNews } from './store.ts'
import type { DesiredState, NodeRegistry, NodeReport, ReportListener } from './types.ts'
import { Watching } from './watching.ts'

const TICK_MS = 1_000
/** A node is looked up again this often, in case the word that it is no longer wanted was lost. */
const RECHECK_MS = 30_000
const REPLACED = 'another link was opened'

export type NodeLinksDeps = {
  installation: string
  desired: DesiredState
  registry: NodeRegistry
  db: Sql
  kv: Kv
  log: Log
  /** Hears of proofs that prove nothing. */
  attempts: Pick<Attempts, 'failed'>
  /** Whom an open counts for, as far as trusted proxies tell: all strangers behind one are not one. */
  callerOf(req: IncomingMessage): Caller
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
  readonly #all = new Set<NodeLink>()
  readonly #byServer = new Map<string, NodeLink>()
  readonly #questions: Questions
  readonly #watching: Watching
  readonly #rotations = new Rotations()
  readonly #beats = new Heartbeats()
  readonly #listeners: ReportListener[] = []
  readonly #live: ((report: NodeReport) => void)[] = []
  readonly #checkedAt = new WeakMap<NodeLink, number>()
  readonly #ends: (() => unknown)[] = []
  readonly #goodbyes = new Set<Promise<void>>()
  #polling = false

  constructor(deps: NodeLinksDeps) {
    this.#deps = deps
    this.#bus = createBus({ ...deps, instance: this.#instance })
    this.#questions = new Questions(this.#bus, this.#instance, (serverId) => this.#byServer.get(serverId))
    this.#watching = new Watching(this.#bus, this.#instance, this.#byServer)
    const linkDeps: LinkDeps = {
      ...deps,
      watched: (serverId) => this.#watching.of(serverId),
      report: (report) => this.#report(report),
      linked: (link) => this.#linked(link),
      progress: (link) => this.#questions.progress(link),
      health: (link, health) => this.#beats.note(link, soundHealth(health)),
    }
    this.route = linkRoute({
      callerOf: (req) => deps.callerOf(req),
      open: (ws, req) => {
        const link = new NodeLink(ws, linkDeps, () => deps.attempts.failed(req, 'signature'))
        this.#all.add(link)
        return link
      },
      gone: (link) => this.#gone(link),
      ping: (link, pingMs) => this.#beats.note(link, { pingMs }),
    })
  }

  async live(serverId: string, slot: number, version: number, timeoutMs: number) {
    const verdict = await this.#questions.ask(serverId, { slot, version, want: 'live' }, timeoutMs)
    if (verdict === 'timeout') return verdict
    return verdict.held ? ('live' as const) : ('failed' as const)
  }

  async gone(serverId: string, slot: number, version: number, timeoutMs: number) {
    const verdict = await this.#questions.ask(serverId, { slot, version, want: 'gone' }, timeoutMs)
    return verdict === 'timeout' ? verdict : { final: verdict.final }
  }

  wake(serverId: string): void {
    const link = this.#byServer.get(serverId)
    if (link) link.step({ type: 'woken' })
    else this.#bus.tellAll({ kind: 'wake', server: serverId })
  }

  watch(key: string, slots: ReadonlyMap<string, readonly number[]>, forMs: number): void {
    this.#watching.set(key, slots, forMs)
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
    return this.#rotateHere(serverId) || this.#rotations.askElsewhere(this.#bus, this.#instance, serverId)
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
    const links = [...this.#all]
    for (const link of links) link.step({ type: 'end', code: CLOSE.stopping, reason: 'stopping' })
    for (const end of this.#ends.splice(0)) await end()
    this.#watching.stop()
    this.#questions.stop()
    await Promise.all(links.map((link) => link.settled()))
    await Promise.all(this.#goodbyes)
    await this.#bus.stop()
  }

  #linked(link: NodeLink): void {
    const { node } = link
    if (!node) return
    this.route.proved(link)
    this.#byServer.get(node.serverId)?.step({ type: 'end', code: CLOSE.replaced, reason: REPLACED })
    this.#byServer.set(node.serverId, link)
    this.#bus.tellAll({ kind: 'linked', server: node.serverId, from: this.#instance, link: link.id })
    this.#questions.progress(link)
  }

  #gone(link: NodeLink): void {
    const { node } = link
    this.#all.delete(link)
    if (!node) return
    if (this.#byServer.get(node.serverId) === link) this.#byServer.delete(node.serverId)
    const goodbye = link
      .settled()
      .then(() => this.#deps.registry.markUnlinked(node.nodeId, link.id))
      .catch((err: unknown) => this.#deps.log.warn({ err }, 'a lost link could not be noted'))
      .finally(() => this.#goodbyes.delete(goodbye))
    this.#goodbyes.add(goodbye)
  }

  async #report(report: NodeReport): Promise<void> {
    for (const listener of this.#live) listener(report)
    this.#watching.reportElsewhere(report)
    await Promise.all(this.#listeners.map(async (listener) => listener(report)))
  }

  #obey(command: Command): void {
    if ('from' in command && command.from === this.#instance) return
    const link = this.#byServer.get(command.server)
    switch (command.kind) {
      case 'wake':
        return link?.step({ type: 'woken' })
      case 'ask':
        return void this.#questions.answer(command)
      case 'watch':
        return this.#watching.setRemote(command)
      case 'rotate':
        if (this.#rotateHere(command.server)) this.#bus.tell(command.from, { kind: 'rotated', id: command.id })
        return
      case 'linked':
        // Ids sort by time: of two that were opened at once, one stays.
        if (link && link.id < command.link) link.step({ type: 'end', code: CLOSE.replaced, reason: REPLACED })
        return this.#questions.askAgain(command.server)
    }
  }

  #hear(answer: Answer): void {
    switch (answer.kind) {
      case 'settled':
        return this.#questions.settle(answer.id, answer.verdict)
      case 'rotated':
        return this.#rotations.answered(answer.id)
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

  /** One statement for all nodes, every 10 s. */
  async #sendBeats(): Promise<void> {
    // Said each time: a beat that was lost, or came before the link was noted, takes nothing with it.
    for (const link of this.#byServer.values()) this.#beats.note(link, link.exits ? { exits: link.exits } : {})
    await this.#deps.registry
      .recordHealth(this.#beats.take())
      .catch((err: unknown) => this.#deps.log.warn({ err }, 'signs of life could not be noted'))
  }

  #tick(): void {
    for (const link of this.#all) link.tick()
    this.#watching.spread()
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
