import { isDeepStrictEqual } from 'node:util'
import type { Tx } from '../platform/db/index.ts'
import { enqueue } from '../platform/jobs.ts'
import { notify } from './mails.ts'
import { moneyText } from './money.ts'
import type { Parts } from './parts.ts'
import type { Act } from './reduce-acts.ts'
import type { Reduced } from './reduce.ts'

export const ACT_JOB = 'billing.act'

/** Asked of Stripe once the rows are written; the job repeats it until it is done. */
export type ActPayload = Act & { customer: string }

/** What goes back by an act, as people read it; undefined when nothing does. */
function moneyBack({ refund }: Act, { payments }: Reduced): string | undefined {
  const back = payments.filter(({ charge }) => refund.includes(charge.id))
  const [first] = back
  const sum = back.reduce((total, { charge }) => total + charge.amount - charge.refunded, 0)
  return first && moneyText(sum, first.charge.currency)
}

async function tell(parts: Parts, tx: Tx, userId: string, act: Act, reduced: Reduced): Promise<void> {
  const amount = moneyBack(act, reduced)
  if (act.why === 'unpaid') await notify(parts, tx, `unpaid:${act.subscription}`, { kind: 'not_paid', user_id: userId })
  if (act.why === 'duplicate')
    await notify(parts, tx, `duplicate:${act.subscription}`, {
      kind: 'duplicate',
      user_id: userId,
      ...(amount === undefined ? {} : { amount }),
    })
  if (act.why === 'ended' && amount !== undefined)
    await notify(parts, tx, `too-late:${act.refund.join()}`, { kind: 'refunded', user_id: userId, amount })
}

/**
 * Queues what must be asked of Stripe, and tells the customer.
 * @param done was carried out just now: Stripe may not show it yet, or refuse it; asking again at once would never end
 */
export async function queueActs(
  parts: Parts,
  tx: Tx,
  owner: { customerId: string; userId: string | null },
  reduced: Reduced,
  done: Act | undefined,
): Promise<void> {
  for (const act of reduced.acts) {
    if (isDeepStrictEqual(act, done)) continue
    const payload: ActPayload = { ...act, customer: owner.customerId }
    await enqueue(tx, ACT_JOB, payload, `${ACT_JOB}:${act.subscription}`)
    if (owner.userId !== null) await tell(parts, tx, owner.userId, act, reduced)
  }
}
