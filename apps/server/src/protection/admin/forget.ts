import type { Wish } from '../limiter/limiter.ts'
import type { Protection } from '../protection.ts'

/** Forgets what was counted under these names, on every instance, and what followed from it; bans stay. */
export async function forget({ state, news }: Pick<Protection, 'state' | 'news'>, wishes: Wish[]): Promise<void> {
  await state.limiter.reset(wishes)
  state.exhausted.clear()
  for (const { id } of wishes) for (const kept of [state.closed, state.perAddress, state.perPrefix]) kept.forget(id)
  news.tell({ kind: 'reset', wishes })
}
