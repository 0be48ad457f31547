import { parseArgs } from 'node:util'
import type { BillingWork } from '@prime-vpn/server'
import { UsageError, type Command } from '../command.ts'

type Outcome = { json: object; text: string; code: number }

const counted = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`

async function syncPlans(billing: BillingWork): Promise<Outcome> {
  const made = await billing.syncPlans()
  const text = made === 0 ? 'Stripe knows every price already.' : `Made ${counted(made, 'price')} at Stripe.`
  return { json: { made }, text, code: 0 }
}

async function reconcile(billing: BillingWork): Promise<Outcome> {
  const drift = await billing.reconcile()
  const lines = [
    `Compared ${counted(drift.read, 'customer')} with Stripe; ${counted(drift.repaired, 'difference')} repaired.`,
    ...(drift.failed > 0 ? [`${counted(drift.failed, 'customer')} could not be compared; the log says why.`] : []),
  ]
  return { json: drift, text: lines.join('\n'), code: drift.failed > 0 ? 1 : 0 }
}

async function move(billing: BillingWork): Promise<Outcome> {
  const moved = await billing.move()
  const text = moved
    ? 'Another account or mode of Stripe is used from now on. What was paid at the one before runs out, and is not renewed here.'
    : 'The key is of the account and mode of Stripe that is used already.'
  return { json: { moved }, text, code: 0 }
}

const WORK: Record<string, (billing: BillingWork) => Promise<Outcome>> = { 'sync-plans': syncPlans, reconcile, move }

export const billing: Command = {
  name: 'billing',
  summary: 'Make the plans known at Stripe, compare everybody with Stripe, or go over to another account.',
  usage: `Usage: prime billing sync-plans
       prime billing reconcile
       prime billing move

  sync-plans  make every product and price at Stripe that it does not know yet; prices that STRIPE_MONTHLY_PRICE_ID and
              STRIPE_YEARLY_PRICE_ID name are taken instead of made
  reconcile   read every customer's state from Stripe now, as the service does each night, and repair what missed
              webhooks left; exit code 1 when a customer could not be compared
  move        go over to the account or mode of Stripe that STRIPE_SECRET_KEY is of, another than before: billing stays off
              with such a key until then. First cancel the subscriptions at the old account, which charges them
              otherwise, and stop every instance with the old key. To undo it, move with the old key
  --json      print JSON

Needs STRIPE_SECRET_KEY, the database and SECRETS_FILE of the service, which may run meanwhile.`,
  async run(args) {
    const { positionals, values } = parseArgs({
      args: [...args],
      options: { json: { type: 'boolean' } },
      allowPositionals: true,
    })
    const [name = '', ...rest] = positionals
    const work = Object.hasOwn(WORK, name) ? WORK[name] : undefined
    if (!work || rest.length > 0) throw new UsageError("say 'sync-plans', 'reconcile' or 'move'")
    const { readEnv, withBilling } = await import('@prime-vpn/server')
    const { json, text, code } = await withBilling(readEnv(process.env), work)
    console.log(values.json ? JSON.stringify(json) : text)
    return code
  },
}
