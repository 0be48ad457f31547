import { z } from 'zod'
import { endpoint, page } from './endpoint.ts'
import { badParam } from './failure.ts'
import { f, listFields } from './form.ts'
import { attach, methodOf, ownMethod, TEST_CARDS } from './methods.ts'
import { endSubscription } from './subscribing.ts'
import type { BalanceTransaction, Customer, PortalSession, SetupIntent } from './types.ts'
import { secretOf, type World } from './world.ts'

const customerFields = {
  email: z.email().max(512).optional(),
  name: f.text.max(256).optional(),
  metadata: f.metadata.optional(),
  address: z.strictObject({ country: z.string().length(2), postal_code: f.text.optional() }).optional(),
  invoice_settings: z.strictObject({ default_payment_method: f.text.optional() }).optional(),
}

const addressOf = (given: { country: string; postal_code?: string | undefined } | undefined): Customer['address'] =>
  given ? { country: given.country, postal_code: given.postal_code ?? null } : null

function setDefault({ store }: World, customer: Customer, method: string | undefined): void {
  if (method === undefined) return
  ownMethod(store, method, customer.id, 'invoice_settings[default_payment_method]')
  customer.invoice_settings.default_payment_method = method
}

/** Customers, their cards, set-ups of new cards and portal sessions. */
export const peopleEndpoints = [
  endpoint('POST', '/v1/customers', customerFields, (world, { email = null, name = null, metadata = {}, address }) => {
    const { store, emit } = world
    const customer = store.add<Customer>({
      id: store.newId('customer'),
      object: 'customer',
      created: store.now,
      livemode: false,
      email,
      name,
      currency: null,
      balance: 0,
      metadata,
      address: addressOf(address),
      invoice_settings: { default_payment_method: null },
    })
    emit('customer.created', customer)
    return customer
  }),
  endpoint('GET', '/v1/customers/:id', {}, ({ store }, _params, [id = '']) =>
    store.state.deleted[id] ? { id, object: 'customer', deleted: true } : store.get('customer', id),
  ),
  endpoint('POST', '/v1/customers/:id', customerFields, (world, params, [id = '']) => {
    const customer = world.store.get('customer', id)
    setDefault(world, customer, params.invoice_settings?.default_payment_method)
    if (params.email !== undefined) customer.email = params.email
    if (params.name !== undefined) customer.name = params.name
    if (params.address !== undefined) customer.address = addressOf(params.address)
    Object.assign(customer.metadata, params.metadata)
    world.emit('customer.updated', customer)
    return customer
  }),
  endpoint('DELETE', '/v1/customers/:id', {}, (world, _params, [id = '']) => {
    const { store, emit } = world
    const customer = store.get('customer', id)
    const live = store.all(
      'subscription',
      (it) => it.customer === id && !['canceled', 'incomplete_expired'].includes(it.status),
    )
    for (const subscription of live) endSubscription(world, subscription)
    store.remove(id)
    store.state.deleted[id] = true
    emit('customer.deleted', customer)
    return { id, object: 'customer', deleted: true }
  }),
  endpoint(
    'POST',
    '/v1/customers/:id/balance_transactions',
    { amount: f.int, currency: f.currency, description: f.text.optional(), metadata: f.metadata.optional() },
    ({ store, emit }, { amount, currency, description = null, metadata = {} }, [id = '']) => {
      const customer = store.get('customer', id)
      if (customer.currency !== null && customer.currency !== currency)
        throw badParam('currency', 'You cannot combine currencies on a single customer.')
      customer.currency = currency
      customer.balance = (customer.balance || 0) + amount
      emit('customer.updated', customer)
      return store.add<BalanceTransaction>({
        id: store.newId('customer_balance_transaction'),
        object: 'customer_balance_transaction',
        created: store.now,
        livemode: false,
        type: 'adjustment',
        customer: id,
        amount,
        currency,
        description,
        ending_balance: customer.balance,
        metadata,
      })
    },
  ),
  endpoint('GET', '/v1/customers/:id/balance_transactions', listFields, ({ store }, params, [id = '']) => {
    store.get('customer', id)
    const own = store.all('customer_balance_transaction', ({ customer }) => customer === id)
    return page(`/v1/customers/${id}/balance_transactions`, own, params)
  }),
  endpoint('GET', '/v1/payment_methods/:id', {}, ({ store }, _params, [id = '']) =>
    Object.hasOwn(TEST_CARDS, id) ? methodOf(store, id) : store.get('payment_method', id),
  ),
  endpoint('POST', '/v1/payment_methods/:id/attach', { customer: f.text }, (world, { customer }, [id = '']) => {
    const method = attach(world.store, id, customer)
    world.emit('payment_method.attached', method)
    return method
  }),
  endpoint(
    'POST',
    '/v1/setup_intents',
    {
      customer: f.text,
      usage: z.enum(['off_session', 'on_session']).optional(),
      automatic_payment_methods: z.strictObject({ enabled: f.bool }).optional(),
      metadata: f.metadata.optional(),
    },
    ({ store, emit }, { customer, metadata = {} }) => {
      store.get('customer', customer, 'customer')
      const id = store.newId('setup_intent')
      const intent = store.add<SetupIntent>({
        id,
        object: 'setup_intent',
        created: store.now,
        livemode: false,
        customer,
        client_secret: secretOf(id),
        payment_method: null,
        status: 'requires_payment_method',
        usage: 'off_session',
        metadata,
      })
      emit('setup_intent.created', intent)
      return intent
    },
  ),
  endpoint(
    'POST',
    '/v1/billing_portal/sessions',
    { customer: f.text, return_url: f.url.optional() },
    ({ store, base }, { customer, return_url }) => {
      store.get('customer', customer, 'customer')
      const id = store.newId('billing_portal.session')
      return store.add<PortalSession>({
        id,
        object: 'billing_portal.session',
        created: store.now,
        livemode: false,
        customer,
        return_url: return_url ?? null,
        url: `${base()}/p/session/${id}`,
      })
    },
  ),
]
