import type { Question, Verdict } from './slots.ts'

/** A question that waits for a node. */
export type Ask = Question & {
  id: number
  server: string
  /** The link it was put to, and which of that link's reads must be done before silence is an answer. */
  put: { link: string; read: number } | null
  deadline: number
  settle(verdict: Verdict | 'timeout'): void
}

/** Questions about slots that wait for their node, each until its deadline. */
export class Asks {
  readonly #byServer = new Map<string, Set<Ask>>()
  readonly #byId = new Map<number, Ask>()
  #next = 1

  /** @param now monotonic ms */
  open(
    server: string,
    question: Question,
    ms: number,
    now: number,
  ): { ask: Ask; answer: Promise<Verdict | 'timeout'> } {
    const { promise, resolve } = Promise.withResolvers<Verdict | 'timeout'>()
    const timer = setTimeout(() => settle('timeout'), ms)
    const settle = (verdict: Verdict | 'timeout'): void => {
      clearTimeout(timer)
      this.#byId.delete(ask.id)
      const waiting = this.#byServer.get(ask.server)
      waiting?.delete(ask)
      if (waiting?.size === 0) this.#byServer.delete(ask.server)
      resolve(verdict)
    }
    const ask: Ask = { ...question, server, id: this.#next++, put: null, deadline: now + ms, settle }
    const waiting = this.#byServer.get(ask.server) ?? new Set()
    this.#byServer.set(ask.server, waiting.add(ask))
    this.#byId.set(ask.id, ask)
    return { ask, answer: promise }
  }

  of(server: string): Ask[] {
    return [...(this.#byServer.get(server) ?? [])]
  }

  byId(id: number): Ask | undefined {
    return this.#byId.get(id)
  }

  /** Nobody will answer any more. */
  stop(): void {
    for (const ask of this.#byId.values()) ask.settle('timeout')
  }
}
