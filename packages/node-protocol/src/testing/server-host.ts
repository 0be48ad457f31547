import { createLink, linkStep, type LinkEffect, type LinkEvent, type LinkState } from '../server-link.ts'
import type { Counters, NodeMessage, ServerMessage } from '../messages.ts'
import { CONFIG, INSTALLATION } from './agent-host.ts'
import type { DatabaseModel } from './database-model.ts'
import type { Random } from './random.ts'
import type { Timeline } from './timeline.ts'

/** What surrounds one node link on a server instance. */
export interface LinkSurroundings {
  readonly timeline: Timeline
  readonly random: Random
  readonly database: DatabaseModel
  toAgent(message: ServerMessage): void
  hangUp(): void
  acknowledged(slot: number, version: number, held: boolean): void
  complete(revision: number): void
  complain(text: string): void
  watched(): readonly number[]
  /** Probability that a read fails. */
  readFault(): number
}

/** One node link on one instance: the reducer, its reads and its ticks. */
export class LinkHost {
  readonly #world: LinkSurroundings
  #state: LinkState
  #alive = true
  #pending: { seq: number | null; peers: readonly Counters[] }[] = []
  steps = 0

  constructor(world: LinkSurroundings) {
    this.#world = world
    this.#state = createLink({ installation: INSTALLATION })
    this.step({ type: 'opened', nonce: 'n'.repeat(32) })
    const tick = () => {
      if (!this.#alive) return
      this.step({ type: 'tick', buffered: 0 })
      this.step({ type: 'watch', slots: world.watched() })
      world.timeline.after(1000, tick)
    }
    world.timeline.after(1000, tick)
  }

  heard(message: NodeMessage): void {
    this.step({ type: 'message', message })
  }

  /** The socket is gone. What was reported is still counted, unless the whole instance died. */
  end(crashed: boolean): void {
    this.#alive = false
    if (crashed) this.#pending = []
  }

  step(event: LinkEvent): void {
    if (!this.#alive) return
    this.steps++
    const { state, effects } = linkStep(this.#state, event, this.#world.timeline.now)
    this.#state = state
    for (const effect of effects) this.#do(effect)
  }

  #do(effect: LinkEffect): void {
    const { timeline, random } = this.#world
    switch (effect.type) {
      case 'send':
        return this.#world.toAgent(effect.message)
      case 'verify':
        return timeline.after(random.int(1, 30), () =>
          this.step({ type: 'verified', config: CONFIG, watch: this.#world.watched() }),
        )
      case 'read':
        return this.#read(effect.since)
      case 'counters':
        return this.#count(effect)
      case 'acknowledged':
        for (const { slot, version, held } of effect.slots) this.#world.acknowledged(slot, version, held)
        return
      case 'complete':
        return this.#world.complete(Number(effect.revision))
      case 'close':
        return this.#world.hangUp()
      case 'warn':
        if (effect.code !== 'resync') this.#world.complain(`server: ${effect.code} ${effect.detail}`)
        return
      case 'linked':
      case 'failed':
      case 'health':
      case 'new_key':
      case 'exits':
    }
  }

  #read(since: string | null): void {
    const { timeline, random, database } = this.#world
    timeline.after(random.int(1, 20), () => {
      const failed = random.chance(this.#world.readFault())
      const rows = database.read(since)
      timeline.after(random.int(1, 20), () =>
        this.step(failed ? { type: 'read_failed' } : { type: 'rows', since, ...rows }),
      )
    })
  }

  /** Finals are stored with the acknowledgement, reports a little later; always in the order they came. */
  #count({ seq, peers }: Extract<LinkEffect, { type: 'counters' }>): void {
    const { timeline, random } = this.#world
    this.#pending.push({ seq, peers })
    if (seq === null) this.#flush()
    else timeline.after(random.int(0, 2000), () => this.#flush())
  }

  #flush(): void {
    let counted: number | null = null
    for (const { seq, peers } of this.#pending.splice(0)) {
      this.#world.database.count(peers)
      counted = seq ?? counted
    }
    if (counted !== null) this.step({ type: 'counted', seq: counted })
  }
}
