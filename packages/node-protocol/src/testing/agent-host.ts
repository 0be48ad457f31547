import {
  agentStep,
  createAgent,
  firstEntries,
  readJournal,
  type AgentEffect,
  type AgentEvent,
  type AgentState,
  type JournalEntry,
  type KernelOp,
} from '../agent.ts'
import type { NodeConfig, NodeMessage, ServerMessage } from '../messages.ts'
import type { KernelModel } from './kernel-model.ts'
import type { Random } from './random.ts'
import type { Timeline } from './timeline.ts'

export const INSTALLATION = '00000000-0000-4000-8000-000000000001'
export const CONFIG: NodeConfig = { addresses: ['10.0.0.1/16'], listen_port: 51820, mtu: 1420, dns: [], open: [] }
const NODE_ID = '00000000-0000-4000-8000-00000000000a'
const NODE_KEY = `${'N'.repeat(43)}=`

/** What surrounds an agent process: the network it dials into, the kernel it writes to, and who watches it. */
export interface Surroundings {
  readonly timeline: Timeline
  readonly random: Random
  readonly kernel: KernelModel
  /** Opens a socket; the host hears of it by `opened`, `heard` and `lost`. */
  dial(link: number): void
  toServer(link: number, message: NodeMessage): void
  hangUp(link: number): void
  /** An operation is about to be done, was done. */
  beforeWrite(op: KernelOp): void
  /** An operation on this peer was done, and what the kernel counted for it may never be known. */
  outcomeLost(peer: Touched): void
  complain(text: string): void
  /** Probability that a write fails, that the process dies between two effects. */
  faults(): { write: number; death: number }
  wallOffset(): number
}

/** A peer as an operation found it. */
export interface Touched {
  slot: number
  rx: bigint
  tx: bigint
  reset: boolean
  /** The slot it was written for: the same, unless a key moves. */
  writtenFor: number
}

type Job = { kind: 'read' } | { kind: 'write'; batch: number; ops: readonly KernelOp[] }

/** A process running the agent reducer, with a disk that outlives it. */
export class AgentHost {
  readonly #world: Surroundings
  #disk = toText(firstEntries(INSTALLATION, CONFIG))
  #state: AgentState | null = null
  #life = 0
  #jobs: Job[] = []
  #working = false
  /** Peers written to by operations whose results the agent has not taken in yet. */
  #unanswered: Touched[] = []
  steps = 0

  constructor(world: Surroundings) {
    this.#world = world
  }

  get running(): boolean {
    return this.#state !== null
  }

  get state(): AgentState | null {
    return this.#state
  }

  start(): void {
    this.#life++
    this.#jobs = []
    this.#working = false
    const self = { node_id: NODE_ID, version: 'test', backend: 'kernel', public_key: NODE_KEY } as const
    this.#state = createAgent(self, readJournal(this.#disk))
    const life = this.#life
    const tick = () => {
      if (this.#life !== life || !this.#state) return
      this.step({ type: 'tick' })
      this.#world.timeline.after(1000, tick)
    }
    this.step({ type: 'start' })
    this.#world.timeline.after(1000, tick)
  }

  /** kill -9. The link goes with the process; the kernel, its peers and the disk stay. */
  kill(): void {
    if (!this.#state) return
    this.#world.hangUp(this.#state.link.id)
    // A write that was handed over may still be done.
    const [job] = this.#jobs
    if (job?.kind === 'write' && this.#world.random.chance(0.5)) this.#write(job.batch, job.ops)
    for (const peer of this.#unanswered) this.#world.outcomeLost(peer)
    this.#unanswered = []
    this.#state = null
    this.#life++
  }

  /** The data folder is lost; the node was enrolled and knows nothing else. */
  wipeDisk(): void {
    this.#disk = toText(firstEntries(INSTALLATION, CONFIG))
  }

  step(event: AgentEvent): void {
    if (!this.#state) return
    this.steps++
    const { timeline, random } = this.#world
    const now = { mono: timeline.now, wall: 1_700_000_000_000 + timeline.now + this.#world.wallOffset() }
    const { state, effects } = agentStep(this.#state, event, now)
    this.#state = state
    const life = this.#life
    for (const effect of effects) {
      if (random.chance(this.#world.faults().death)) {
        if (effect.type === 'persist' && !effect.compact) this.#tear(effect.entries)
        return this.kill()
      }
      this.#do(effect)
      if (this.#life !== life) return
    }
  }

  #do(effect: AgentEffect): void {
    const { timeline, random } = this.#world
    const life = this.#life
    const later = (delay: number, run: () => void) => timeline.after(delay, () => this.#life === life && run())
    switch (effect.type) {
      case 'persist':
        this.#disk = effect.compact ? toText(effect.entries) : this.#disk + toText(effect.entries)
        return
      case 'kernel':
        this.#jobs.push({ kind: 'write', batch: effect.batch, ops: effect.ops })
        return this.#work()
      case 'read_kernel':
        this.#jobs.push({ kind: 'read' })
        return this.#work()
      case 'dial':
        return later(effect.after_ms + random.int(1, 20), () => this.#world.dial(effect.link))
      case 'sign':
        return later(1, () => this.step({ type: 'signed', link: effect.link, signature: 'proof' }))
      case 'send':
        return this.#world.toServer(effect.link, effect.message)
      case 'close':
        this.#world.hangUp(effect.link)
        return later(1, () => this.lost(effect.link))
      case 'exit':
        return this.#world.complain(`exit: ${effect.reason}`)
      case 'configure':
      case 'rotate_key':
      case 'warn':
    }
  }

  /** The kernel's queue: one job after the other, answered in order. */
  #work(): void {
    if (this.#working) return
    const [job] = this.#jobs
    if (!job) return
    this.#working = true
    const { timeline, random } = this.#world
    const life = this.#life
    timeline.after(random.int(1, 8), () => {
      if (this.#life !== life) return
      this.#jobs.shift()
      const answer = job.kind === 'read' ? this.#read() : this.#write(job.batch, job.ops)
      timeline.after(random.int(0, 3), () => {
        if (this.#life !== life) return
        this.#working = false
        this.step(answer)
        this.#unanswered = []
        if (this.#life === life) this.#work()
      })
    })
  }

  #read(): AgentEvent {
    const { kernel } = this.#world
    return { type: 'kernel_dump', interface_id: kernel.interfaceId, peers: kernel.dump() }
  }

  #write(batch: number, ops: readonly KernelOp[]): AgentEvent {
    const { kernel, random } = this.#world
    const results = ops.map((op) => {
      this.#world.beforeWrite(op)
      const peer = kernel.peers.get('peer' in op ? op.peer.public_key : op.public_key)
      const touched = peer && {
        slot: peer.slot,
        rx: peer.rx,
        tx: peer.tx,
        reset: op.op === 'reset',
        writtenFor: 'slot' in op ? op.slot : peer.slot,
      }
      if (touched) this.#unanswered.push(touched)
      const failure = random.chance(this.#world.faults().write) ? random : null
      if (failure && touched) this.#world.outcomeLost(touched)
      return kernel.write(op, failure, (text) => this.#world.complain(text))
    })
    return { type: 'kernel_done', batch, interface_id: kernel.interfaceId, results }
  }

  opened(link: number): void {
    this.step({ type: 'link_opened', link })
  }

  heard(link: number, message: ServerMessage): void {
    this.step({ type: 'link_message', link, message })
  }

  lost(link: number): void {
    this.step({ type: 'link_closed', link, random: this.#world.random.next() })
  }

  /** Death in the middle of an append: some lines are whole, one may be torn. */
  #tear(entries: readonly JournalEntry[]): void {
    const text = toText(entries)
    this.#disk += text.slice(0, this.#world.random.int(0, text.length))
  }
}

function toText(entries: readonly JournalEntry[]): string {
  return entries.map((entry) => `${JSON.stringify(entry)}\n`).join('')
}
