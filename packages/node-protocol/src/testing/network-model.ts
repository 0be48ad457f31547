import { parseNodeMessage, parseServerMessage } from '../codec.ts'
import type { NodeMessage, ServerMessage } from '../messages.ts'
import type { Random } from './random.ts'
import type { Timeline } from './timeline.ts'

type End = 'agent' | 'server'

/** The two ends of a socket. */
export interface Ends {
  agent: { heard: (message: ServerMessage) => void; lost: () => void }
  server: { heard: (message: NodeMessage) => void; lost: () => void }
}

/** State messages of all sockets so far, as text. */
export interface Said {
  toAgent: string[]
  toServer: string[]
}

/**
 * One TCP-like socket: in order, with delay; a cut loses what is on its way, and each end learns of it in its own time.
 * Everything passes the codec, so a message its schema refuses shows here.
 */
export class Socket {
  readonly #timeline: Timeline
  readonly #random: Random
  readonly #ends: Ends
  readonly #arrival = { agent: 0, server: 0 }
  #open = true
  #helloDone = false
  #loses = false
  readonly #said: Said

  constructor(timeline: Timeline, random: Random, ends: Ends, said: Said) {
    this.#timeline = timeline
    this.#random = random
    this.#ends = ends
    this.#said = said
  }

  get open(): boolean {
    return this.#open
  }

  /** The next changes for the agent get lost although the socket stays. */
  loseOne(): void {
    this.#loses = true
  }

  toAgent(message: ServerMessage): void {
    if (this.#loses && message.type === 'changes') {
      this.#loses = false
      return
    }
    const text = JSON.stringify(message)
    if (message.type === 'welcome') this.#helloDone = true
    if (message.type === 'changes' || message.type === 'snapshot') this.#said.toAgent.push(text)
    this.#carry('agent', () => this.#hearServer(text))
  }

  toServer(message: NodeMessage): void {
    const text = JSON.stringify(message)
    if (message.type === 'applied' || message.type === 'report') this.#said.toServer.push(text)
    this.#carry('server', () => this.#hearNode(text))
  }

  /** A hostile transport: what was said on this or an earlier socket is said again, out of its order. */
  repeat(): void {
    const old = this.#random.pick(this.#said.toAgent)
    const said = this.#random.pick(this.#said.toServer)
    if (old && this.#random.chance(0.7)) this.#carry('agent', () => this.#hearServer(old))
    if (said && this.#helloDone && this.#random.chance(0.5)) this.#carry('server', () => this.#hearNode(said))
  }

  /** Cuts the socket; the ends learn of it after at most so many ms. */
  cut(delay: { agent: number; server: number }): void {
    if (!this.#open) return
    this.#open = false
    this.#timeline.after(delay.agent, () => this.#ends.agent.lost())
    this.#timeline.after(delay.server, () => this.#ends.server.lost())
  }

  #carry(to: End, deliver: () => void): void {
    if (!this.#open) return
    const at = Math.max(this.#arrival[to], this.#timeline.now + this.#random.int(1, 40))
    this.#arrival[to] = at
    this.#timeline.after(at - this.#timeline.now, () => this.#open && deliver())
  }

  #hearServer(text: string): void {
    const parsed = parseServerMessage(text)
    if (!parsed.ok) throw new Error(`server said ${text}: ${parsed.error}`)
    this.#ends.agent.heard(parsed.message)
  }

  #hearNode(text: string): void {
    const parsed = parseNodeMessage(text)
    if (!parsed.ok) throw new Error(`node said ${text}: ${parsed.error}`)
    this.#ends.server.heard(parsed.message)
  }
}
