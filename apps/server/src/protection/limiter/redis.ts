import { createHash } from 'node:crypto'
import type { Redis } from 'ioredis'
import { LIMITER_SCRIPT } from './script.ts'
import type { Limiter, Standing, Wish } from './limiter.ts'

const SHA = createHash('sha1').update(LIMITER_SCRIPT).digest('hex')

/** All keys carry one hash tag: a cluster then keeps them in one slot, which a script over several keys needs. */
const TAG = '{limits}'

type Mode = 'take' | 'peek' | 'refund'

/**
 * The limiter in Redis or Valkey: one round trip for a request, atomic over all instances.
 * @param prefix set before every key, so that installations can share a server
 * @param now for tests; without it the server's own clock counts, which all instances share
 */
export class RedisLimiter implements Limiter {
  readonly #client: Redis
  readonly #prefix: string
  readonly #now: (() => number) | undefined

  constructor(client: Redis, prefix = 'prime:', now?: () => number) {
    this.#client = client
    this.#prefix = `${prefix}${TAG}:`
    this.#now = now
  }

  #key(rule: string, id: string): string {
    return `${this.#prefix}${rule}:${id}`
  }

  async #judge(mode: Mode, wishes: readonly Wish[]): Promise<Standing[]> {
    if (wishes.length === 0) return []
    const keys = wishes.map((wish) => this.#key(wish.rule, wish.id))
    const other = wishes.some((wish) => wish.otherId !== undefined)
    if (other) for (const wish of wishes) keys.push(this.#key(wish.rule, wish.otherId ?? wish.id))
    const args: (string | number)[] = [mode, this.#now?.() ?? '', other ? '1' : '0']
    for (const { limit } of wishes) args.push(limit.limit, limit.burst, limit.windowMs)
    const answer = (await this.#run(keys, args)) as number[]
    return wishes.map((_, i) => ({
      admitted: answer[4 * i] === 1,
      remaining: answer[4 * i + 1] ?? 0,
      resetMs: answer[4 * i + 2] ?? 0,
      retryMs: answer[4 * i + 3] ?? 0,
    }))
  }

  async #run(keys: string[], args: (string | number)[]): Promise<unknown> {
    try {
      return await this.#client.evalsha(SHA, keys.length, ...keys, ...args)
    } catch (error) {
      // A restarted server has forgotten its scripts; EVAL teaches it again.
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return this.#client.eval(LIMITER_SCRIPT, keys.length, ...keys, ...args)
    }
  }

  take(wishes: readonly Wish[]): Promise<Standing[]> {
    return this.#judge('take', wishes)
  }

  peek(wishes: readonly Wish[]): Promise<Standing[]> {
    return this.#judge('peek', wishes)
  }

  async refund(wishes: readonly Wish[]): Promise<void> {
    await this.#judge('refund', wishes)
  }

  async reset(wishes: readonly Wish[]): Promise<void> {
    const keys = wishes.flatMap(({ rule, id, otherId }) =>
      [id, ...(otherId === undefined ? [] : [otherId])].map((each) => this.#key(rule, each)),
    )
    if (keys.length > 0) await this.#client.del(...keys)
  }
}
