import { randomBytes } from 'node:crypto'
import type { WebSocket } from 'ws'
import {
  createLink,
  linkStep,
  parseNodeMessage,
  type Acknowledged,
  type Counters,
  type LinkEffect,
  type LinkEvent,
  type LinkState,
} from '@prime-vpn/node-protocol'
import { newId } from '../platform/ids.ts'
import { printable, type Log } from '../platform/log.ts'
import type { LinkedNode } from '../fleet/index.ts'
import { soundExits } from './exits.ts'
import { Inflow } from './inflow.ts'
import { proves } from './proof.ts'
import { SlotBook, type Question, type Verdict } from './slots.ts'
import type { DesiredState, NodeRegistry, NodeReport } from './types.ts'

const MIB = 1024 * 1024
const AUTH_MS = 5_000
/** Far above what a full node has to say: 65,000 peers reported at once are 8 MB, every 15 s. */
const INFLOW_PER_SECOND = 4 * MIB
const INFLOW_BURST = 40 * MIB
/** Messages whose work is not done yet; above it the socket is not read. */
const MAX_BACKLOG = 64
const WARN_GAP_MS = 10_000

type Health = Extract<LinkEffect, { type: 'health' }>['health']

export type LinkDeps = {
  installation: string
  desired: DesiredState
  registry: NodeRegistry
  log: Log
  /** The slots of this server that are watched now. */
  watched(serverId: string): readonly number[]
  /** Resolves when every listener has stored it. */
  report(report: NodeReport): Promise<void>
  /** The node has proved itself and is marked as linked. */
  linked(link: NodeLink): void
  /** The question whether something is live or gone may have another answer now. */
  progress(link: NodeLink): void
  health(link: NodeLink, health: Health): void
}

/** The shell around one link's reducer: socket, clock, database. */
export class NodeLink {
  readonly id = newId()
  readonly #ws: WebSocket
  readonly #deps: LinkDeps
  readonly #onForged: () => void
  readonly #book = new SlotBook()
  readonly #inflow = new Inflow(INFLOW_PER_SECOND, INFLOW_BURST, performance.now())
  readonly #warned = new Map<string, number>()
  #state: LinkState
  #log: Log
  #node: LinkedNode | undefined
  #exits: readonly string[] | undefined
  #finals = new Map<number, Counters>()
  #begun = 0
  #read = 0
  #backlog = 0
  /** What must happen one after the other: totals, then acknowledgements, then the horizon. */
  #chain: Promise<void> = Promise.resolve()

  /** @param onForged hears of a proof that is none */
  constructor(ws: WebSocket, deps: LinkDeps, onForged: () => void) {
    this.#ws = ws
    this.#deps = deps
    this.#onForged = onForged
    this.#log = deps.log
    this.#state = createLink({ installation: deps.installation, authMs: AUTH_MS })
  }

  /** Sends the challenge. */
  open(): void {
    this.step({ type: 'opened', nonce: randomBytes(24).toString('base64url') })
  }

  get node(): LinkedNode | undefined {
    return this.#node
  }

  /** Where the node says its customers come out, as far as it may say so; undefined before it said anything. */
  get exits(): readonly string[] | undefined {
    return this.#node && this.#exits && soundExits(this.#exits, this.#node.address)
  }

  /** Notes how the node is set now. @returns true when it is another way than it was told */
  takeConfig(node: LinkedNode): boolean {
    const before = this.#node
    this.#node = node
    return JSON.stringify(node.config) !== JSON.stringify(before?.config)
  }

  get linked(): boolean {
    return this.#state.phase === 'linked'
  }

  get closed(): boolean {
    return this.#state.phase === 'closed'
  }

  /** The horizon of the last read, when nothing is being read or about to be; else undefined. */
  get restingAt(): string | undefined {
    const { reading, wanted, horizon, greeted } = this.#state
    const busy = !this.linked || !greeted || reading || wanted.full || wanted.fresh || wanted.safety
    return busy ? undefined : String(horizon)
  }

  /** The number of the first read that sees everything committed until now, if the link is woken. */
  get nextRead(): number {
    return this.#begun + 1
  }

  /** @param read `nextRead` of the moment the question was put */
  verdict(question: Question, read: number): Verdict | undefined {
    const quiet = this.#read >= read && this.#backlog === 0
    return this.linked ? this.#book.verdict(question, this.#state, quiet) : undefined
  }

  /** A message of the node, as it came. */
  hear(data: Buffer, isBinary: boolean): void {
    if (this.closed) return
    const pause = this.#inflow.take(data.length, performance.now())
    if (pause > 0) this.#pauseFor(pause)
    if (isBinary) return this.step({ type: 'invalid', error: 'binary' })
    const parsed = parseNodeMessage(data)
    if (parsed.ok) return this.step({ type: 'message', message: parsed.message })
    // A newer agent may say more than we know, once it has proved itself.
    if (parsed.unknown_type && this.linked) return this.#warn('unknown_type', parsed.error)
    this.step({ type: 'invalid', error: parsed.error })
  }

  tick(): void {
    this.step({ type: 'tick', buffered: this.#ws.bufferedAmount })
  }

  step(event: LinkEvent): void {
    const { state, effects } = linkStep(this.#state, event, performance.now())
    this.#state = state
    for (const effect of effects) this.#do(effect)
    if (effects.length > 0 && this.linked) this.#deps.progress(this)
  }

  /** Resolves when everything heard so far is done. */
  async settled(): Promise<void> {
    await this.#chain
  }

  #do(effect: LinkEffect): void {
    switch (effect.type) {
      case 'send':
        return this.#ws.send(JSON.stringify(effect.message))
      case 'verify':
        return void this.#verify(effect)
      case 'read':
        return void this.#readRows(effect.since)
      case 'counters':
        return this.#count(effect)
      case 'acknowledged':
        return this.#acknowledged(effect.slots)
      case 'failed':
        return this.#inOrder(async () => this.#book.failed(effect.slots))
      case 'complete':
        return this.#inOrder((node) => this.#deps.desired.clearedBelow(node.serverId, effect.revision))
      case 'linked':
        return this.#linked(effect)
      case 'health':
        return this.#deps.health(this, effect.health)
      case 'exits':
        this.#exits = effect.addresses
        return
      case 'new_key':
        return this.#inOrder((node) => this.#newKey(node, effect.public_key))
      case 'close':
        return this.#close(effect)
      case 'warn':
        return this.#warn(effect.code, effect.detail)
    }
  }

  async #verify({ auth, nonce }: Extract<LinkEffect, { type: 'verify' }>): Promise<void> {
    const { registry, installation } = this.#deps
    try {
      const node = await registry.nodeForLink(auth.node_id)
      if (!node) return this.#refuse('this node is not known here', true)
      if (!proves(node, { installation, nonce }, auth.signature)) return this.#refuse('the proof is wrong', false)
      this.#node = node
      this.#log = this.#deps.log.child({ server_id: node.serverId })
      this.step({ type: 'verified', config: node.config, watch: this.#deps.watched(node.serverId) })
    } catch (err) {
      this.#log.warn({ err }, 'a node could not be looked up')
      this.step({ type: 'refused', reason: 'not now', dismissed: false })
    }
  }

  #refuse(reason: string, dismissed: boolean): void {
    this.#onForged()
    this.step({ type: 'refused', reason, dismissed })
  }

  async #readRows(since: string | null): Promise<void> {
    const number = ++this.#begun
    const { node } = this
    if (!node) return
    try {
      const rows = await this.#deps.desired.changesSince(node.serverId, since)
      // Before the step: what this read tells may be all that was asked for.
      this.#read = number
      this.step({ type: 'rows', since, ...rows })
      this.#deps.progress(this)
    } catch (err) {
      this.#warn('read_failed', err instanceof Error ? err.message : 'unknown')
      this.step({ type: 'read_failed' })
    }
  }

  /** Listeners hear at once and in order; what waits for them to be durable is the answer. */
  #count({ seq, at, peers }: Extract<LinkEffect, { type: 'counters' }>): void {
    const { node } = this
    if (!node) return
    const final = seq === null
    const stored = this.#deps.report({ serverId: node.serverId, at, peers, final })
    stored.catch(() => undefined)
    if (final) {
      for (const counters of peers) this.#finals.set(counters.slot, counters)
      return this.#inOrder(() => stored)
    }
    void stored.then(
      () => this.step({ type: 'counted', seq }),
      (err: unknown) => this.#fail(err, 'a report could not be stored'),
    )
  }

  #acknowledged(slots: readonly Acknowledged[]): void {
    const finals = this.#finals
    this.#finals = new Map()
    this.#inOrder(async (node) => {
      const empty = slots.filter(({ held }) => !held)
      if (empty.length > 0) await this.#deps.desired.cleared(node.serverId, empty)
      this.#book.acknowledged(slots, finals)
    })
  }

  #linked({ agent }: Extract<LinkEffect, { type: 'linked' }>): void {
    const agentVersion = printable(agent.version, 40)
    this.#inOrder(async (node) => {
      const known = await this.#deps.registry.markLinked(node.nodeId, {
        linkId: this.id,
        agentVersion,
        backend: agent.backend,
      })
      if (!known) return this.step({ type: 'dismissed', reason: 'this node is not known here' })
      await this.#newKey(node, agent.public_key)
      if (this.closed) return this.#deps.registry.markUnlinked(node.nodeId, this.id)
      this.#deps.linked(this)
    })
  }

  async #newKey(node: LinkedNode, publicKey: string): Promise<void> {
    try {
      await this.#deps.registry.storeNewKey(node.nodeId, publicKey)
    } catch (err) {
      this.#log.warn({ err }, "a node's key was refused")
    }
  }

  /** Queues work whose order counts. When it fails the link ends; the node comes back and tells it again. */
  #inOrder(work: (node: LinkedNode) => Promise<void>): void {
    const { node } = this
    if (!node) return
    if (++this.#backlog === MAX_BACKLOG) this.#ws.pause()
    this.#chain = this.#chain.then(() => this.#doneInOrder(work, node))
  }

  async #doneInOrder(work: (node: LinkedNode) => Promise<void>, node: LinkedNode): Promise<void> {
    try {
      await work(node)
    } catch (err) {
      this.#fail(err, 'what a node told could not be stored')
    }
    if (--this.#backlog === MAX_BACKLOG / 2) this.#ws.resume()
    if (this.linked) this.#deps.progress(this)
  }

  #fail(err: unknown, what: string): void {
    if (this.closed) return
    this.#log.warn({ err }, what)
    this.step({ type: 'end', code: 1011, reason: 'not stored' })
  }

  #pauseFor(ms: number): void {
    this.#warn('too_much', `${ms} ms`)
    this.#ws.pause()
    setTimeout(() => this.#ws.resume(), Math.min(ms, 10_000)).unref()
  }

  #close({ code, reason }: Extract<LinkEffect, { type: 'close' }>): void {
    this.#log.info({ close_code: code, reason: printable(reason) }, 'node link closed')
    this.#ws.resume()
    this.#ws.close(code, Buffer.from(reason).subarray(0, 120))
    setTimeout(() => this.#ws.terminate(), 2_000).unref()
  }

  /** The same complaint at most every 10 s: a node must not fill the log. */
  #warn(code: string, detail: string): void {
    const now = performance.now()
    if (now - (this.#warned.get(code) ?? -Infinity) < WARN_GAP_MS) return
    this.#warned.set(code, now)
    this.#log.warn({ warning: code, detail: printable(detail) }, 'node link')
  }
}
