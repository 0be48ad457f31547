import {
  agentStep,
  createAgent,
  type AgentEffect,
  type AgentEvent,
  type AgentState,
  type KernelPeer,
  type NodeConfig,
} from '@prime-vpn/node-protocol'
import type { Driver, PeerState } from '@prime-vpn/wireguard'
import { Failure, oneLine } from './failures.ts'
import type { Flusher } from './flusher.ts'
import type { FindingCode } from './findings.ts'
import type { HealthChecks } from './health.ts'
import { proveLink, publicKeys } from './identity.ts'
import type { Keeper } from './interface-keeper.ts'
import type { Journal } from './journal-file.ts'
import { interfaceNames } from './machine.ts'
import { knowing, type KnowingDriver } from './held-keys.ts'
import { kernelQueue } from './kernel-queue.ts'
import { openLinkSocket, type LinkSocket } from './link-socket.ts'
import type { Log } from './log.ts'
import { watchRules } from './rules-watch.ts'
import { AGENT_VERSION } from './versions.ts'

const TICK_MS = 1_000
const HEALTH_MS = 30_000
const GUARD_MS = 5_000
/** A clock this far from the control plane's, in seconds, is worth a warning. */
const MAX_SKEW_S = 5

export type AgentDeps = {
  keeper: Keeper
  driver: Driver
  journal: Journal
  flusher: Flusher
  log: Log
  health: HealthChecks
  /** The addresses customers come out of, null when they cannot be told. */
  exits: () => Promise<string[] | null>
}
export type Exit = { code: number; reason: string }

/** A running agent: the pure reducer of node-protocol with its effects carried out here. */
export class Agent {
  /** Resolves when the control plane dismissed the node, or `stop` was called. */
  readonly ended: Promise<Exit>
  readonly #deps: AgentDeps
  readonly #driver: KnowingDriver
  readonly #queue
  readonly #events: AgentEvent[] = []
  readonly #sockets = new Map<number, LinkSocket>()
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #findings = new Set<FindingCode>()
  #state: AgentState
  #phase: 'running' | 'stopping' | 'stopped' = 'running'
  #working = false
  #guarding = false
  #unwatch: () => void = () => undefined
  #linked: 'up' | 'connecting' | 'down' = 'down'
  #end: (exit: Exit) => void = () => undefined

  constructor(deps: AgentDeps) {
    this.#deps = deps
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
    const identity = deps.keeper.identity()
    this.#state = createAgent(
      {
        node_id: identity.enrolled.node_id,
        version: AGENT_VERSION,
        backend: deps.driver.backend,
        public_key: publicKeys(identity).wireguard,
      },
      deps.journal.entries,
    )
    this.#driver = knowing(deps.driver)
    this.#queue = kernelQueue({
      driver: this.#driver,
      flusher: deps.flusher,
      done: (batch, results) =>
        this.#take({ type: 'kernel_done', batch, interface_id: deps.keeper.interfaceId(), results }),
    })
  }

  start(): void {
    this.#take({ type: 'start' })
    this.#every(TICK_MS, () => this.#tick())
    this.#every(GUARD_MS, () => this.#guardSoon())
    this.#unwatch = watchRules(this.#deps.keeper.identity().interface, () => this.#guardSoon())
    this.#every(HEALTH_MS, () => this.#tellOfMachine())
  }

  /** Ends the link and the work under way, and leaves interface, peers and rules as they are. */
  async stop(exit: Exit): Promise<void> {
    if (this.#phase !== 'running') return
    this.#phase = 'stopping'
    for (const timer of this.#timers) clearInterval(timer)
    this.#timers.clear()
    this.#unwatch()
    for (const socket of this.#sockets.values()) socket.close(1001, 'stopping')
    // What the kernel was told is still written down; no new link is dialled for it.
    await Promise.race([this.#queue.idle(), pause(3_000)])
    this.#phase = 'stopped'
    this.#deps.journal.close()
    this.#end(exit)
  }

  status(): {
    link: 'up' | 'connecting' | 'down'
    revision: string
    peers: number
    warnings: FindingCode[]
    config: NodeConfig | null
  } {
    const { confirmed, config } = this.#state
    return { link: this.#linked, revision: String(confirmed), peers: this.#peers(), warnings: this.#warnings(), config }
  }

  #peers(): number {
    let held = 0
    for (const slot of this.#state.slots.values()) if (slot.peer) held++
    return held
  }

  #warnings = (): FindingCode[] => [...this.#findings, ...this.#deps.keeper.findings()]

  /** Takes events one after the other, also those that carrying out an effect brings at once. */
  #take(event: AgentEvent): void {
    if (this.#phase === 'stopped') return
    this.#events.push(event)
    if (this.#working) return
    this.#working = true
    try {
      for (let next = this.#events.shift(); next; next = this.#events.shift()) {
        const now = { wall: Date.now(), mono: performance.now() }
        const { state, effects } = agentStep(this.#state, next, now)
        this.#state = state
        for (const effect of effects) this.#perform(effect)
      }
    } finally {
      this.#working = false
    }
  }

  #perform(effect: AgentEffect): void {
    switch (effect.type) {
      case 'persist':
        return this.#persist(effect)
      case 'configure':
        return this.#queue.between(() => this.#configure(effect.config))
      case 'kernel':
        return this.#queue.push(effect.batch, effect.ops)
      case 'read_kernel':
        return this.#queue.between(() => this.#read())
      case 'dial':
        return this.#dial(effect.link, effect.after_ms)
      case 'sign': {
        const signature = proveLink(this.#deps.keeper.identity(), effect.installation, effect.nonce)
        return this.#take({ type: 'signed', link: effect.link, signature })
      }
      case 'send':
        return this.#sockets.get(effect.link)?.send(effect.message)
      case 'close':
        return this.#sockets.get(effect.link)?.close(effect.code, effect.reason)
      case 'rotate_key':
        return this.#queue.between(() => this.#rotateKey())
      case 'exit':
        return void this.stop({ code: effect.code, reason: oneLine(effect.reason) })
      case 'warn':
        return this.#deps.log('warn', effect.code, { detail: oneLine(effect.detail) })
    }
  }

  #persist({ compact, entries }: Extract<AgentEffect, { type: 'persist' }>): void {
    const { journal } = this.#deps
    this.#note('journal_unwritable', !(compact ? journal.replace(entries) : journal.append(entries)))
  }

  async #configure(config: NodeConfig): Promise<void> {
    await this.#attempt('configure', () => this.#deps.keeper.configure(config))
  }

  async #read(): Promise<void> {
    const { flusher, keeper } = this.#deps
    try {
      // A peer that is seen to be gone counts as settled: no flow of it may be left by then.
      await flusher.retry()
      const found = await this.#driver.dump().catch(() => null)
      await keeper.repairIfNeeded(found)
      const interface_id = await keeper.readInterfaceId()
      const { peers } = found ?? (await this.#driver.dump())
      this.#take({ type: 'kernel_dump', interface_id, peers: peers.map(toKernelPeer) })
    } catch (error) {
      this.#take({ type: 'kernel_unreadable', error: messageOf(error) })
    }
  }

  #dial(link: number, after: number): void {
    if (this.#phase !== 'running') return
    this.#linked = 'connecting'
    this.#later(after, () => {
      const { control_url } = this.#deps.keeper.identity()
      const socket = openLinkSocket(control_url, {
        opened: () => this.#take({ type: 'link_opened', link }),
        message: (message) => {
          if (message.type === 'welcome') this.#welcomed()
          this.#take({ type: 'link_message', link, message })
        },
        invalid: (reason) => this.#take({ type: 'link_invalid', link, reason }),
        closed: (status) => {
          this.#sockets.delete(link)
          this.#linked = 'down'
          this.#deps.log('info', 'link_closed', { status })
          this.#take({ type: 'link_closed', link, random: Math.random() })
        },
        skew: (seconds) => this.#note('clock_skew', Math.abs(seconds) > MAX_SKEW_S),
      })
      this.#sockets.set(link, socket)
    })
  }

  #welcomed(): void {
    this.#linked = 'up'
    this.#deps.log('info', 'link_up')
    this.#later(500, () => this.#tellOfMachine())
  }

  async #rotateKey(): Promise<void> {
    await this.#attempt('rotate_key', async () => {
      const public_key = await this.#deps.keeper.rotateKey()
      this.#take({ type: 'key_rotated', public_key })
    })
  }

  #tick(): void {
    this.#take({ type: 'tick' })
    const { interface: name } = this.#deps.keeper.identity()
    void interfaceNames().then((names) => (names?.includes(name) === false ? this.#guardSoon() : undefined))
  }

  /** One guard waits at a time, however long the queue is. */
  #guardSoon(): void {
    if (this.#guarding) return
    this.#guarding = true
    this.#queue.between(async () => {
      this.#guarding = false // what happens from here on needs another look
      await this.#guard()
    })
  }

  /** Somebody may throw away our rules (a firewall service restarted) or the tunnel's process may die. */
  async #guard(): Promise<void> {
    await this.#attempt('guard', async () => {
      if (await this.#deps.keeper.repairFirewall()) this.#deps.log('error', 'firewall_was_gone')
    })
    if (await this.#driver.exists().catch(() => true)) return
    this.#deps.log('error', 'interface_was_gone')
    await this.#read()
  }

  #tellOfMachine(): void {
    void this.#tellExits()
    void this.#tellHealth()
  }

  async #tellExits(): Promise<void> {
    await this.#attempt('exits', async () => {
      const addresses = await this.#deps.exits()
      if (addresses) this.#take({ type: 'exits', addresses })
    })
  }

  async #tellHealth(): Promise<void> {
    await this.#attempt('health', async () => {
      this.#take({ type: 'health', health: await this.#deps.health(this.#peers(), this.#warnings()) })
    })
  }

  /** Runs what may fail without ending the agent: tunnels go on whatever happens here. */
  async #attempt(what: string, act: () => Promise<void>): Promise<void> {
    await act().catch((error: unknown) => this.#deps.log('error', `${what}_failed`, { why: messageOf(error) }))
  }

  #note(code: FindingCode, holds: boolean): void {
    if (holds) this.#findings.add(code)
    else this.#findings.delete(code)
  }

  #every(ms: number, act: () => void): void {
    this.#timers.add(setInterval(act, ms))
  }

  #later(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      act()
    }, ms)
    this.#timers.add(timer)
  }
}

const toKernelPeer = (p: PeerState): KernelPeer => ({
  public_key: p.publicKey,
  preshared_key: p.presharedKey,
  allowed_ips: p.allowedIps,
  rx: p.rx,
  tx: p.tx,
  handshake_at: p.handshakeAt,
})

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms).unref())

const messageOf = (error: unknown): string =>
  error instanceof Failure || (error instanceof Error && error.name !== 'ProgramFailed')
    ? oneLine(error.message)
    : 'a tool failed'
