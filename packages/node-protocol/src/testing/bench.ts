import { agentStep, createAgent, firstEntries } from '../agent.ts'
import type { AgentEffect, AgentEvent, AgentState, JournalEntry, KernelOp, KernelResult } from '../agent.ts'
import type { NodeMessage, Peer, ServerMessage } from '../messages.ts'
import { CONFIG, INSTALLATION } from './agent-host.ts'
import { KernelModel } from './kernel-model.ts'

type Of<T extends NodeMessage['type']> = Extract<NodeMessage, { type: T }>

/** A key that tells its number. */
export const keyOf = (n: number): string => `${String(n).padStart(42, 'K')}A=`

/** The peer a slot holds; `psk` tells two apart. */
export function peerOf(slot: number, psk = 0, key = slot): Peer {
  const allowed_ips = [`10.0.${slot >> 8}.${slot & 255}/32`, `fd00::${(slot + 1).toString(16)}/128`]
  return { public_key: keyOf(key), preshared_key: keyOf(100_000 + psk), allowed_ips }
}

/** An agent on a desk: the kernel answers at once, time moves when told, everything said and done is kept. */
export class Bench {
  readonly kernel: KernelModel
  readonly journal: JournalEntry[] = []
  readonly sent: NodeMessage[] = []
  readonly ops: KernelOp[] = []
  readonly effects: AgentEffect[] = []
  mono = 1000
  wall = 1_700_000_000_000
  /** Answers instead of the kernel model where it returns something. */
  onWrite: (op: KernelOp) => KernelResult | undefined = () => undefined
  #state: AgentState

  constructor({ entries = firstEntries(INSTALLATION, CONFIG), kernel = new KernelModel() } = {}) {
    const self = { node_id: INSTALLATION, version: '1', backend: 'kernel', public_key: keyOf(1) } as const
    this.kernel = kernel
    this.#state = createAgent(self, entries)
    this.step({ type: 'start' })
  }

  get link(): number {
    return this.#state.link.id
  }

  step(event: AgentEvent): void {
    const { state, effects } = agentStep(this.#state, event, { mono: this.mono, wall: this.wall })
    this.#state = state
    this.effects.push(...effects)
    const answers = effects.map((effect) => this.#do(effect))
    for (const answer of answers) if (answer) this.step(answer)
  }

  /** Lets time pass, second by second. */
  wait(ms: number): void {
    for (let passed = 0; passed < ms; passed += 1000) {
      this.mono += 1000
      this.wall += 1000
      this.step({ type: 'tick' })
    }
  }

  /** Opens the link up to the welcome. */
  welcome(installation = INSTALLATION): this {
    this.step({ type: 'link_opened', link: this.link })
    this.hear({ type: 'challenge', nonce: 'n'.repeat(22), installation, versions: [1] })
    this.step({ type: 'signed', link: this.link, signature: 'proof' })
    return this.hear({ type: 'welcome', installation, config: CONFIG })
  }

  hear(message: ServerMessage): this {
    this.step({ type: 'link_message', link: this.link, message })
    return this
  }

  lose(random = 0.5): this {
    this.step({ type: 'link_closed', link: this.link, random })
    return this
  }

  /** Tells a whole list: slot -> version, everyone's peer as `peerOf`. */
  snapshot(revision: number, held: Record<number, number>, empty: Record<number, number> = {}): this {
    const peers = Object.entries(held).map(([slot, version]) => ({ slot: +slot, version, peer: peerOf(+slot) }))
    const none = Object.entries(empty).map(([slot, version]) => ({ slot: +slot, version }))
    const count = peers.length
    return this.hear({ type: 'snapshot', revision: String(revision), complete: true, count, peers, empty: none })
  }

  changes(since: number, revision: number, changes: { slot: number; version: number; peer: Peer | null }[]): this {
    return this.hear({ type: 'changes', since: String(since), revision: String(revision), changes })
  }

  /** The messages of one type said since the last call, and forgets all others too. */
  said<T extends NodeMessage['type']>(type: T): Of<T>[] {
    return this.sent.splice(0).filter((message): message is Of<T> => message.type === type)
  }

  /** The operations asked for since the last call. */
  wrote(): KernelOp[] {
    return this.ops.splice(0)
  }

  /** Slots in the kernel, in order. */
  slots(): number[] {
    return [...this.kernel.peers.values()].map(({ slot }) => slot).toSorted((a, b) => a - b)
  }

  /** Traffic of one slot's peer, with a handshake now. */
  flow(slot: number, rx: number, tx: number, handshake = true): void {
    const peer = this.kernel.ofSlot(slot)
    if (!peer) throw new Error(`slot ${slot} is not in the kernel`)
    peer.rx += BigInt(rx)
    peer.tx += BigInt(tx)
    if (handshake) peer.handshake_at = Math.floor(this.wall / 1000)
  }

  /** What a new process on the same disk would read. */
  reborn(): Bench {
    const next = new Bench({ entries: [...this.journal], kernel: this.kernel })
    next.mono = this.mono
    next.wall = this.wall
    return next
  }

  #do(effect: AgentEffect): AgentEvent | undefined {
    const interface_id = this.kernel.interfaceId
    if (effect.type === 'persist') {
      if (effect.compact) this.journal.length = 0
      this.journal.push(...effect.entries)
    } else if (effect.type === 'send') this.sent.push(effect.message)
    else if (effect.type === 'read_kernel') return { type: 'kernel_dump', interface_id, peers: this.kernel.dump() }
    else if (effect.type === 'kernel') {
      this.ops.push(...effect.ops)
      const results = effect.ops.map((op) => this.onWrite(op) ?? this.kernel.write(op, null, () => {}))
      return { type: 'kernel_done', batch: effect.batch, interface_id, results }
    }
    return undefined
  }
}
