import { completeCheckout, type Card } from './checkout.ts'
import { StripeFailure } from './failure.ts'
import { intentOf } from './invoices.ts'
import { newMethod } from './methods.ts'
import { confirmIntent } from './money.ts'
import { itemOf } from './subscribing.ts'
import { advance } from './time.ts'
import type { CheckoutSession, Price } from './types.ts'
import type { World } from './world.ts'

export type PageAnswer = { status: number; html: string } | { redirect: string }

const escape = (text: string): string =>
  text.replace(/[&<>"']/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c] ?? c)

const STYLE =
  'body{font:16px/1.5 system-ui;max-width:28rem;margin:3rem auto;padding:0 1rem;color:#1a1f36}' +
  'label{display:block;margin:.6rem 0}button{font:inherit;padding:.6rem 1.2rem;margin-right:.6rem}' +
  '.note{background:#fff4d6;padding:.5rem .8rem;border-radius:.4rem}'

const page = (title: string, body: string, status = 200): PageAnswer => ({
  status,
  html:
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">` +
    `<title>${escape(title)}</title><style>${STYLE}</style></head><body>` +
    `<p class="note">Stand-in for Stripe, for trying things out. No money moves; never type a real card.</p>` +
    `<h1>${escape(title)}</h1>${body}</body></html>`,
})

/** The cards to choose from, as on Stripe's list of test cards; the first is chosen unless another is. */
const CARDS: readonly (Card & { label: string })[] = [
  { behaviour: 'pays', last4: '4242', label: '4242 4242 4242 4242: pays' },
  { behaviour: 'asks', last4: '3184', label: '4000 0027 6000 3184: the bank asks at each payment' },
  { behaviour: 'declines', last4: '0341', label: '4000 0000 0000 0341: is declined' },
  { behaviour: 'pays-later', last4: '3000', label: 'Bank debit: the money comes after 3 days' },
  { behaviour: 'fails-later', last4: '3002', label: 'Bank debit: fails after 3 days' },
]
const cardIn = (form: URLSearchParams) => CARDS.find(({ last4 }) => last4 === form.get('card'))

const choices = CARDS.map(
  ({ last4, label }, index) =>
    `<label><input type="radio" name="card" value="${last4}"${index === 0 ? ' checked' : ''}> ${escape(label)}</label>`,
).join('')
const cardChoice = `<fieldset><legend>Pay by</legend>${choices}</fieldset>`

const money = (amount: number, currency: string): string => {
  const digits =
    new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions().maximumFractionDigits ?? 2
  return `${(amount / 10 ** digits).toFixed(digits)} ${currency.toUpperCase()}`
}
const priceText = (price: Price): string =>
  `${money(price.unit_amount, price.currency)} each ${price.recurring.interval}`

function checkoutPage({ store }: World, session: CheckoutSession, fault = ''): PageAnswer {
  const wish = store.state.wishes[session.id]
  if (session.status !== 'open' || !wish) return page('This page is not open any more', '', 410)
  const price = store.get('price', wish.price)
  const product = store.get('product', price.product)
  const back = session.cancel_url === null ? '' : `<a href="${escape(session.cancel_url)}">Back</a>`
  const trial = wish.trialDays === null ? '' : `<p>Free for ${wish.trialDays} days.</p>`
  const code = wish.promotionCodes ? '<label>Promotion code <input name="code" maxlength="100"></label>' : ''
  return page(
    'Checkout',
    `<p><strong>${escape(product.name)}</strong>: ${escape(priceText(price))}</p>${trial}` +
      (fault ? `<p role="alert">${escape(fault)}</p>` : '') +
      `<form method="post">${cardChoice}${code}<button>Pay</button>${back}</form>`,
  )
}

function payCheckout(world: World, session: CheckoutSession, form: URLSearchParams): PageAnswer {
  const card = cardIn(form) ?? CARDS[0]
  const code = form.get('code') || undefined
  if (!card) return checkoutPage(world, session)
  try {
    if (!completeCheckout(world, session, card, code)) return checkoutPage(world, session, 'Your card was declined.')
  } catch (error) {
    if (error instanceof StripeFailure) return checkoutPage(world, session, error.message)
    throw error
  }
  return { redirect: session.success_url.replaceAll('{CHECKOUT_SESSION_ID}', session.id) }
}

function portalPage({ store }: World, sessionId: string): PageAnswer {
  const session = store.get('billing_portal.session', sessionId)
  const subscriptions = store.all('subscription', ({ customer }) => customer === session.customer)
  const rows = subscriptions
    .map(
      (it) =>
        `<li>${escape(priceText(itemOf(it).price))}: ${it.status}${it.cancel_at_period_end ? ', ends with its period' : ''}</li>`,
    )
    .join('')
  const owed = store.all('invoice', ({ customer, status }) => customer === session.customer && status === 'open')
  const pay = owed
    .map(
      (invoice) =>
        `<button name="invoice" value="${invoice.id}">Pay ${escape(money(invoice.amount_due, invoice.currency))}</button>`,
    )
    .join('')
  const back = session.return_url === null ? '' : `<p><a href="${escape(session.return_url)}">Back</a></p>`
  return page(
    'Your billing',
    `<ul>${rows}</ul><form method="post">${cardChoice}${pay}<button name="save" value="1">Use this card from now on</button></form>${back}`,
  )
}

function actInPortal(world: World, sessionId: string, form: URLSearchParams): PageAnswer {
  const { store, emit } = world
  const session = store.get('billing_portal.session', sessionId)
  const customer = store.get('customer', session.customer)
  const card = cardIn(form)
  if (card) {
    const method = newMethod(store, card.behaviour, card.last4)
    method.customer = customer.id
    customer.invoice_settings.default_payment_method = method.id
    for (const it of store.all('subscription', ({ customer: id }) => id === customer.id))
      it.default_payment_method = method.id
    emit('customer.updated', customer)
    const invoice = store.find('invoice', form.get('invoice') ?? '')
    const intent = invoice?.customer === customer.id ? intentOf(store, invoice) : undefined
    if (intent && intent.status !== 'succeeded' && intent.status !== 'processing')
      confirmIntent(world, intent, method.id, true)
  }
  return portalPage(world, sessionId)
}

function authPage(world: World, intentId: string, agreed: boolean): PageAnswer {
  const intent = world.store.get('payment_intent', intentId)
  if (!agreed)
    return page(
      'Your bank asks',
      `<p>${escape(money(intent.amount, intent.currency))}</p><form method="post"><button>Agree</button></form>`,
    )
  if (intent.status === 'requires_action') confirmIntent(world, intent, undefined, true)
  return page('Thank you', '<p>You can close this page.</p>')
}

function invoicePage(world: World, id: string): PageAnswer {
  const invoice = world.store.get('invoice', id)
  return page(
    `Invoice ${invoice.number ?? ''}`,
    `<p>${escape(money(invoice.total, invoice.currency))}, ${invoice.status}</p>`,
  )
}

function clockPage(world: World, days: number): PageAnswer {
  if (days > 0) advance(world, world.store.now + Math.round(days * 86_400))
  return page(
    'The clock',
    `<p>${new Date(world.store.now * 1000).toISOString()}</p><form method="post"><label>Days <input name="days" value="1" inputmode="decimal"></label><button>Move on</button></form>`,
  )
}

/** The pages a browser sees: checkout, portal, the bank's question, invoices and the clock. Undefined: no such page. */
export function pageFor(world: World, method: string, path: string, body: string): PageAnswer | undefined {
  const form = new URLSearchParams(body)
  const post = method === 'POST'
  const [, checkout] = /^\/c\/pay\/(\w+)$/.exec(path) ?? []
  if (checkout !== undefined) {
    const session = world.store.get('checkout.session', checkout)
    return post ? payCheckout(world, session, form) : checkoutPage(world, session)
  }
  const [, portal] = /^\/p\/session\/(\w+)$/.exec(path) ?? []
  if (portal !== undefined) return post ? actInPortal(world, portal, form) : portalPage(world, portal)
  const [, intent] = /^\/auth\/(\w+)$/.exec(path) ?? []
  if (intent !== undefined) return authPage(world, intent, post)
  const [, invoice] = /^\/i\/(\w+?)(?:\/pdf)?$/.exec(path) ?? []
  if (invoice !== undefined) return invoicePage(world, invoice)
  if (path === '/' || path === '/clock') return clockPage(world, post ? Number(form.get('days')) : 0)
  return undefined
}
