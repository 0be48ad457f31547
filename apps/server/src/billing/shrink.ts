import { maybeOne, type Tx } from '../platform/db/index.ts'
import { newId } from '../platform/ids.ts'
import { notify } from './mails.ts'
import type { Parts } from './parts.ts'

/**
 * Has ended what a changed plan does not allow any more, in the transaction of the change. The user hears of connections
 * that ended by mail, too; sockets hear it by themselves.
 * @param told another mail of this change says so already
 */
export async function endWhatIsTooMuch(parts: Parts, tx: Tx, userId: string, told = false): Promise<void> {
  const ended = await parts.onEntitlementChanged(tx, userId)
  if (ended === 0 || told) return
  const may = await maybeOne(tx<{ name: string; max_devices: number; max_connections: number }[]>`
    select p.name, e.max_devices, e.max_connections from entitlements e join plans p on p.id = e.plan_id
     where e.user_id = ${userId}`)
  if (!may) return
  await notify(parts, tx, `shrunk:${newId()}`, {
    kind: 'shrunk',
    user_id: userId,
    plan: may.name,
    limits: { ended, devices: may.max_devices, connections: may.max_connections },
  })
}
