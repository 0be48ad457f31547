import { Asks, type Ask } from './asks.ts'
import type { Command } from './bus-messages.ts'
import type { Bus } from './bus.ts'
import type { NodeLink } from './link.ts'
import type { Question, Verdict } from './slots.ts'

/** Puts questions about slots to the link of their node, wherever it is, and waits for what comes of them. */
export class Questions {
  readonly #asks = new Asks()
  readonly #bus: Bus
  readonly #instance: string
  readonly #linkOf: (serverId: string) => NodeLink | undefined

  constructor(bus: Bus, instance: string, linkOf: (serverId: string) => NodeLink | undefined) {
    this.#bus = bus
    this.#instance = instance
    this.#linkOf = linkOf
  }

  ask(server: string, question: Question, ms: number): Promise<Verdict | 'timeout'> {
    const { ask, answer } = this.#asks.open(server, question, ms, performance.now())
    const link = this.#linkOf(server)
    if (link) this.#put(ask, link)
    else this.#askElsewhere(ask)
    return answer
  }

  /** Another instance asks. Nothing happens where the link is not. */
  async answer(command: Extract<Command, { kind: 'ask' }>): Promise<void> {
    const { server, slot, version, want, ms, from, id } = command
    if (!this.#linkOf(server)) return
    const verdict = await this.ask(server, { slot, version, want }, ms)
    if (verdict !== 'timeout') this.#bus.tell(from, { kind: 'settled', id, verdict })
  }

  /** Another instance has answered. */
  settle(id: number, verdict: Verdict): void {
    this.#asks.byId(id)?.settle(verdict)
  }

  /** The link has come to another instance: what waits is asked there. */
  askAgain(server: string): void {
    for (const ask of this.#asks.of(server)) this.#askElsewhere(ask)
  }

  /** Something happened on the link: perhaps it answers what waits. */
  progress(link: NodeLink): void {
    const { node } = link
    if (!node || this.#linkOf(node.serverId) !== link) return
    for (const ask of this.#asks.of(node.serverId)) {
      if (ask.put?.link === link.id) judge(ask, link)
      else this.#put(ask, link)
    }
  }

  /** Nobody will answer any more. */
  stop(): void {
    this.#asks.stop()
  }

  #put(ask: Ask, link: NodeLink): void {
    ask.put = { link: link.id, read: link.nextRead }
    link.step({ type: 'woken' })
    judge(ask, link)
  }

  #askElsewhere({ server, id, slot, version, want, deadline }: Ask): void {
    const ms = Math.max(0, Math.floor(deadline - performance.now()))
    this.#bus.tellAll({ kind: 'ask', server, from: this.#instance, id, slot, version, want, ms })
  }
}

function judge(ask: Ask, link: NodeLink): void {
  const verdict = ask.put && link.verdict(ask, ask.put.read)
  // A removal that failed is tried again by the node.
  if (verdict && !(verdict.failed && ask.want === 'gone')) ask.settle(verdict)
}
