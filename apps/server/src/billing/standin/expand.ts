import { badParam } from './failure.ts'
import { intentOf } from './invoices.ts'
import type { Store } from './store.ts'
import type { Thing } from './types.ts'

type Plain = Record<string, unknown>
const isPlain = (value: unknown): value is Plain => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Fields that are not there unless asked for. */
function hidden(store: Store, holder: Plain, field: string): unknown {
  const id = String(holder.id)
  if (holder.object === 'invoice' && field === 'confirmation_secret') {
    const invoice = store.find('invoice', id)
    const intent = invoice && intentOf(store, invoice)
    return intent ? { type: 'payment_intent', client_secret: intent.client_secret } : null
  }
  if (holder.object === 'invoice' && field === 'payments') {
    const data = store
      .all('invoice_payment', ({ invoice }) => invoice === id)
      .map((payment) => structuredClone(payment))
    return { object: 'list', data, has_more: false, url: '/v1/invoice_payments' }
  }
  if (holder.object === 'charge' && field === 'refunds') {
    const data = store.all('refund', ({ charge }) => charge === id).map((refund) => structuredClone(refund))
    return { object: 'list', data, has_more: false, url: `/v1/charges/${id}/refunds` }
  }
  return undefined
}

function open(store: Store, value: unknown, path: string[], whole: string): unknown {
  const [field, ...rest] = path
  if (field === undefined) return value
  if (Array.isArray(value)) return value.map((item) => open(store, item, path, whole))
  if (!isPlain(value)) return value
  let inner = value[field]
  if (typeof inner === 'string') {
    const thing: Thing | undefined = store.state.things[inner]
    if (!thing || field === 'id') throw badParam('expand', `This property cannot be expanded (${whole}).`)
    inner = structuredClone(thing)
  } else inner ??= hidden(store, value, field)
  if (inner === undefined) throw badParam('expand', `This property cannot be expanded (${whole}).`)
  return { ...value, [field]: open(store, inner, rest, whole) }
}

/** Opens the references that `expand` names, at most four levels deep, as Stripe does. */
export function expand(store: Store, answer: unknown, paths: readonly string[]): unknown {
  let opened: unknown = structuredClone(answer)
  for (const path of paths) {
    const parts = path.split('.')
    if (parts.length > 4) throw badParam('expand', 'You cannot expand more than 4 levels of a property.')
    opened = open(store, opened, parts, path)
  }
  return opened
}
