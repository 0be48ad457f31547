import { z } from 'zod'
import type { Kv } from '../platform/kv/index.ts'
import type { Wish } from './limiter/limiter.ts'

const CHANNEL = 'protection'

const ResetWish = z.object({
  rule: z.string(),
  id: z.string(),
  otherId: z.string().optional(),
  limit: z.object({ limit: z.number(), burst: z.number(), windowMs: z.number() }),
})
const Item = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('counted'), n: z.int().min(1) }),
  z.object({ kind: z.literal('closed'), id: z.string(), forMs: z.number() }),
  z.object({ kind: z.literal('reset'), wishes: z.array(ResetWish) }),
])
const Message = z.object({ from: z.string(), item: Item })
type Item = z.infer<typeof Item>

type Ears = {
  /** Anonymous requests that another instance counted in the last second. */
  counted: (n: number) => void
  closed: (id: string, forMs: number) => void
  reset: (wishes: Wish[]) => void
}

/** What instances tell each other as it happens; none of it matters a minute later. */
export class News {
  readonly #kv: Kv
  readonly #self: string
  readonly #ears: Ears

  constructor(kv: Kv, self: string, ears: Ears) {
    this.#kv = kv
    this.#self = self
    this.#ears = ears
  }

  /** @returns ends the listening */
  start(): Promise<() => void> {
    return this.#kv.subscribe(CHANNEL, (text) => this.#hear(text))
  }

  tell(item: Item): void {
    // Lost with the store: each instance then goes by what it knows itself.
    this.#kv.publish(CHANNEL, JSON.stringify({ from: this.#self, item })).catch(() => undefined)
  }

  #hear(text: string): void {
    const message = readMessage(text)
    if (!message || message.from === this.#self) return
    const { item } = message
    if (item.kind === 'counted') this.#ears.counted(item.n)
    else if (item.kind === 'closed') this.#ears.closed(item.id, item.forMs)
    else this.#ears.reset(item.wishes)
  }
}

/** What another release says and we do not understand is passed over. */
function readMessage(text: string): z.infer<typeof Message> | null {
  try {
    return Message.parse(JSON.parse(text))
  } catch {
    return null
  }
}
