import { randomBytes } from 'node:crypto'
import { missing } from './failure.ts'
import type { CardBehaviour, Kind, Of, StripeEvent, Thing } from './types.ts'

const PREFIX: Record<Kind, string> = {
  customer: 'cus',
  customer_balance_transaction: 'cbtxn',
  product: 'prod',
  price: 'price',
  payment_method: 'pm',
  coupon: 'coupon',
  promotion_code: 'promo',
  subscription: 'sub',
  invoice: 'in',
  invoice_payment: 'inpay',
  payment_intent: 'pi',
  setup_intent: 'seti',
  charge: 'ch',
  refund: 're',
  dispute: 'du',
  'checkout.session': 'cs_test',
  'billing_portal.session': 'bps',
}

/** What a checkout session will buy; Stripe shows it only on request. */
export type CheckoutWish = {
  price: string
  trialDays: number | null
  metadata: Record<string, string>
  automaticTax: boolean
  /** The address that the page asks for stays with the customer. */
  keepsAddress: boolean
  promotionCodes: boolean
}
export type Remembered = { path: string; body: string; status: number; text: string; at: number }

/** Everything the stand-in knows; plain data, so that it can be written to a file and read again. */
export type State = {
  now: number
  counter: number
  things: Record<string, Thing>
  events: StripeEvent[]
  remembered: Record<string, Remembered>
  wishes: Record<string, CheckoutWish>
  behaviours: Record<string, CardBehaviour>
  /** Amounts of changes in the middle of a period, charged with the next invoice. */
  pending: Record<string, number>
  discounts: Record<string, { coupon: string; used: boolean }>
  /** Subscriptions whose first paying card becomes their default. */
  saves: Record<string, true>
  /** When the money of a bank debit comes or fails, by its intent. */
  processing: Record<string, number>
  /** Customers that were deleted: their lists can still be read. */
  deleted: Record<string, true>
}

export const emptyState = (now: number): State => ({
  now,
  counter: 0,
  things: {},
  events: [],
  remembered: {},
  wishes: {},
  behaviours: {},
  pending: {},
  discounts: {},
  saves: {},
  processing: {},
  deleted: {},
})

/** The objects by id. Ids are random; the order of making is kept. */
export class Store {
  state: State
  constructor(state: State) {
    this.state = state
  }
  /** Seconds since 1970 on the stand-in's own clock. */
  get now(): number {
    return this.state.now
  }
  newId(kind: Kind): string {
    return `${PREFIX[kind]}_${randomBytes(12).toString('hex')}`
  }
  nextNumber(): number {
    return ++this.state.counter
  }
  add<T extends Thing>(thing: T): T {
    this.state.things[thing.id] = thing
    return thing
  }
  find<K extends Kind>(kind: K, id: string): Of<K> | undefined {
    const thing = Object.hasOwn(this.state.things, id) ? this.state.things[id] : undefined
    return thing?.object === kind ? (thing as Of<K>) : undefined
  }
  /** @throws Stripe's 404, or 400 naming the parameter the id stood in */
  get<K extends Kind>(kind: K, id: string, param?: string): Of<K> {
    const thing = this.find(kind, id)
    if (!thing) throw missing(kind.replace('.', ' '), id, param === undefined ? 404 : 400, param)
    return thing
  }
  /** Newest first, as every list of Stripe's. */
  all<K extends Kind>(kind: K, fits: (thing: Of<K>) => boolean = () => true): Of<K>[] {
    return Object.values(this.state.things)
      .filter((thing): thing is Of<K> => thing.object === kind)
      .filter(fits)
      .toReversed()
  }
  remove(id: string): void {
    delete this.state.things[id]
  }
}
