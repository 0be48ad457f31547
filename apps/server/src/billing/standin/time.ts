import { draftInvoice, finalize, intentOf, voidInvoice } from './invoices.ts'
import { endDebit, payInvoice, RETRY_AFTER_DAYS } from './paying.ts'
import { DAY, HOUR, periodEnd } from './period.ts'
import { endSubscription, itemOf, renewalLines } from './subscribing.ts'
import type { Invoice, Subscription } from './types.ts'
import type { World } from './world.ts'

/** Something that happens by itself at a time. */
type Due = { at: number; act: () => void }

/** How long a first payment may take before the subscription is given up. */
const INCOMPLETE_FOR = 23 * HOUR

function renew(world: World, subscription: Subscription): void {
  const { store, emit } = world
  const item = itemOf(subscription)
  const start = item.current_period_end
  if (subscription.cancel_at_period_end) return endSubscription(world, subscription)
  const before = { status: subscription.status, current_period_end: item.current_period_end }
  item.current_period_start = start
  item.current_period_end = periodEnd(start, item.price.recurring)
  if (subscription.status === 'trialing') subscription.status = 'active'
  draftInvoice(
    world,
    subscription,
    'subscription_cycle',
    renewalLines(store, subscription, start, item.current_period_end),
  )
  emit('customer.subscription.updated', subscription, before)
}

function collect(world: World, invoice: Invoice): void {
  finalize(world, invoice)
  if (intentOf(world.store, invoice)) payInvoice(world, invoice)
}

function retry(world: World, invoice: Invoice): void {
  const { store } = world
  const last = invoice.created + (RETRY_AFTER_DAYS.at(-1) ?? 0) * DAY
  if (payInvoice(world, invoice) === 'paid' || store.now < last) return
  const subscription = store.get('subscription', invoice.parent.subscription_details.subscription)
  if (subscription.status === 'past_due') endSubscription(world, subscription)
}

function giveUp(world: World, subscription: Subscription): void {
  subscription.status = 'incomplete_expired'
  subscription.ended_at = world.store.now
  const invoice = subscription.latest_invoice && world.store.find('invoice', subscription.latest_invoice)
  if (invoice) voidInvoice(world, invoice)
  world.emit('customer.subscription.updated', subscription, { status: 'incomplete' })
}

function dueSubscriptions(world: World): Due[] {
  return world.store.all('subscription').flatMap((subscription): Due[] => {
    if (subscription.status === 'incomplete')
      return [{ at: subscription.created + INCOMPLETE_FOR, act: () => giveUp(world, subscription) }]
    if (!['active', 'trialing', 'past_due'].includes(subscription.status)) return []
    return [{ at: itemOf(subscription).current_period_end, act: () => renew(world, subscription) }]
  })
}

function dueInvoices(world: World): Due[] {
  return world.store.all('invoice').flatMap((invoice): Due[] => {
    if (!invoice.auto_advance) return []
    if (invoice.status === 'draft') return [{ at: invoice.created + HOUR, act: () => collect(world, invoice) }]
    if (invoice.status !== 'open' || invoice.next_payment_attempt === null) return []
    return [{ at: invoice.next_payment_attempt, act: () => retry(world, invoice) }]
  })
}

function dueSessions({ store, emit }: World): Due[] {
  return store
    .all('checkout.session', ({ status }) => status === 'open')
    .map((session) => ({
      at: session.expires_at,
      act: () => {
        session.status = 'expired'
        session.url = null
        emit('checkout.session.expired', session)
      },
    }))
}

const dueDebits = (world: World): Due[] =>
  Object.entries(world.store.state.processing).map(([intent, at]) => ({
    at,
    act: () => endDebit(world, world.store.get('payment_intent', intent)),
  }))

const allDue = (world: World): Due[] => [
  ...dueSubscriptions(world),
  ...dueInvoices(world),
  ...dueSessions(world),
  ...dueDebits(world),
]

/** Moves the clock to `to` (seconds since 1970); everything that falls due on the way happens in its order. */
export function advance(world: World, to: number): void {
  const { state } = world.store
  for (;;) {
    const [next] = allDue(world)
      .filter(({ at }) => at <= to)
      .toSorted((a, b) => a.at - b.at)
    if (!next) break
    state.now = Math.max(state.now, next.at)
    next.act()
  }
  state.now = Math.max(state.now, to)
}
