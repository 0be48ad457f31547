import assert from 'node:assert/strict'
import { test } from 'node:test'
import { aPayer, house, URLS, type House } from './testing/house.ts'

const MONTHLY = { plan_id: 'premium_monthly' }
const YEARLY = { plan_id: 'premium_yearly' }
const MINUTE = 60
const planOf = async (h: House, user: string): Promise<string> =>
  (await h.call('GET', '/subscriptions/status', user)).body.plan
const kept = (h: House): number =>
  h.standin.store.all('charge', ({ paid }) => paid).reduce((sum, it) => sum + it.amount - it.amount_refunded, 0)
const subjects = (h: House): string[] => h.mails.map(({ subject }) => subject.split(' - ')[0] ?? subject)
/** The card that is charged from now on refuses. */
const cardsDecline = (h: House): void => {
  for (const id of Object.keys(h.standin.store.state.behaviours)) h.standin.store.state.behaviours[id] = 'declines'
}
/** The customer's own app confirms at Stripe; we hear of it by webhook alone. */
const confirmAtStripe = (h: House, intent: string) =>
  fetch(`${h.standin.base}/v1/payment_intents/${intent}/confirm`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${h.standin.apiKey}`,
      'content-type': 'application/x-www-form-urlencoded',
    },
    body: new URLSearchParams({ payment_method: h.standin.card() }),
  })
const payInPortal = async (h: House, user: string, invoice: string): Promise<number> => {
  const { body } = await h.call('POST', '/billing/portal', user, {})
  return (await fetch(body.url, { method: 'POST', body: new URLSearchParams({ card: '4242', invoice }) })).status
}

/** Two orders, the first of which is paid in an app at a call to Stripe that tidying it makes. */
async function paidWhileTidied(h: House, isMoment: (method: string, path: string) => boolean) {
  const user = await h.user()
  const { body } = await h.call('POST', '/payments/create-intent', user, MONTHLY)
  let paid: Promise<Response> | undefined
  h.standin.fault = (method, path) => {
    if (paid || !isMoment(method, path)) return undefined
    // This call is answered as away and comes again; the payment is done meanwhile.
    paid = confirmAtStripe(h, body.payment_intent_id)
    return 'drop-before'
  }
  assert.equal((await h.call('POST', '/payments/create-intent', user, YEARLY)).status, 201)
  await h.settle()
  assert.equal((await paid)?.status, 200)
  await h.settle()
  return user
}

test('an abandoned purchase that is paid after it was listed is not cancelled: it is the plan', async (t) => {
  const h = await house(t)
  const user = await paidWhileTidied(h, (method, path) => method === 'GET' && path.startsWith('/v1/subscriptions/'))
  assert.deepEqual([await planOf(h, user), kept(h)], ['premium_monthly', 999])
})

test('an abandoned purchase that is paid at the moment in which it is cancelled goes back, with a mail', async (t) => {
  const h = await house(t)
  const user = await paidWhileTidied(h, (method, path) => method === 'DELETE' && path.startsWith('/v1/subscriptions/'))
  assert.deepEqual([await planOf(h, user), kept(h)], ['free', 0])
  assert.ok(subjects(h).includes('Your refund'))
  assert.equal((await h.call('POST', '/payments/create-intent', user, YEARLY)).status, 201)
})

test('what is owed for a plan that was cancelled while past due can be paid no more', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  cardsDecline(h)
  await h.days(32)
  const [owed] = h.standin.store.all('invoice', ({ status }) => status === 'open')
  assert.ok(owed)
  assert.equal((await h.call('PUT', '/subscriptions/cancel', user)).status, 200)
  await h.settle()
  assert.equal(owed.status, 'void')
  await payInPortal(h, user, owed.id)
  await h.settle()
  assert.deepEqual([kept(h), await planOf(h, user)], [999, 'free'])
  const [row] = await h.sql`select status from invoices where stripe_invoice_id = ${owed.id}`
  assert.equal(row?.status, 'void')
})

test('what is owed when Stripe has given up can be paid no more', async (t) => {
  const h = await house(t)
  await aPayer(h)
  cardsDecline(h)
  await h.days(45)
  assert.deepEqual(
    h.standin.store
      .all('invoice')
      .map(({ status }) => status)
      .toSorted(),
    ['paid', 'void'],
  )
})

test('an invoice that is paid before it can be closed goes back, with a mail', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  cardsDecline(h)
  await h.days(32)
  const [owed] = h.standin.store.all('invoice', ({ status }) => status === 'open')
  h.standin.fault = (_method, path) => (path.endsWith('/void') ? 'refuse' : undefined)
  assert.equal((await h.call('PUT', '/subscriptions/cancel', user)).status, 200)
  h.standin.advance(MINUTE)
  await payInPortal(h, user, owed?.id ?? '')
  h.standin.fault = () => undefined
  await h.settle()
  assert.deepEqual([owed?.status, kept(h), await planOf(h, user)], ['paid', 999, 'free'])
  assert.ok(subjects(h).includes('Your refund'))
})

test('a refund or a closing that Stripe refuses is not asked for again and again', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  for (const id of Object.keys(h.standin.store.state.behaviours)) h.standin.store.state.behaviours[id] = 'pays-later'
  await h.days(31.5)
  assert.equal(h.standin.store.all('charge', ({ status }) => status === 'pending').length, 1)
  const staff = await h.user()
  const end = await h.call('PUT', `/admin/users/${user}/subscription`, staff, { action: 'cancel' }, { role: 'admin' })
  assert.equal(end.status, 200)
  const first = h.standin.calls.length
  await h.settle()
  const tries = h.standin.calls.slice(first).filter((call) => call.endsWith('/void')).length
  assert.ok(tries >= 1 && tries <= 3, `${tries} tries`)
  // The debit comes all the same: its money goes back.
  await h.days(3.5)
  assert.deepEqual([kept(h), await planOf(h, user)], [999, 'free'])
})

test('what was paid after the account was erased goes back', async (t) => {
  const h = await house(t)
  const user = await h.user()
  const { body } = await h.call('POST', '/payments/create', user, { ...MONTHLY, ...URLS })
  // Stripe's customer is not deleted yet when the page is paid.
  await h.owner.begin(async (tx) => {
    await tx`delete from users where id = ${user}`
    await tx`delete from graphile_worker._private_jobs`
  })
  assert.ok(h.standin.pay(body.session_id))
  await h.settle()
  assert.equal(kept(h), 0)
  assert.deepEqual(
    h.standin.store.all('subscription').map(({ status }) => status),
    ['canceled'],
  )
})

test('a price that was changed at Stripe to one of no plan: the plan goes on, and ends when Stripe ends it', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  const [subscription] = h.standin.store.all('subscription')
  const [item] = subscription?.items.data ?? []
  assert.ok(subscription && item)
  item.price = { ...item.price, id: 'price_custom' }
  await h.days(35)
  assert.equal((await h.entitlement(user)).plan_id, 'premium_monthly')
  assert.equal((await h.call('PUT', '/subscriptions/cancel', user)).status, 200)
  await h.days(32)
  assert.equal((await h.call('POST', '/payments/create', user, { ...MONTHLY, ...URLS })).status, 201)
})

test('between the end of a cancelled plan and its end at Stripe another one can be bought, and stays', async (t) => {
  const h = await house(t)
  const user = await aPayer(h)
  await h.call('PUT', '/subscriptions/cancel', user)
  const [old] = h.standin.store.all('subscription')
  const end = old?.items.data[0]?.current_period_end ?? 0
  // The room's clock reaches the end; Stripe's own takes some minutes more.
  await h.days((end * 1000 - h.clock.now()) / 86_400_000 - 0.01)
  h.wait(0.02)
  await h.run('billing.lifecycle')
  assert.equal(old?.status, 'active')
  const card = { ...YEARLY, payment_method_id: h.standin.card() }
  assert.equal((await h.call('POST', '/subscriptions/subscribe', user, card)).status, 201)
  await h.settle()
  await h.days(1)
  assert.deepEqual([await planOf(h, user), kept(h)], ['premium_yearly', 999 + 7999])
})

test('a payment that we gave back ourselves leaves the own right to a refund of the next one', async (t) => {
  const h = await house(t)
  const user = await paidWhileTidied(h, (method, path) => method === 'DELETE' && path.startsWith('/v1/subscriptions/'))
  h.standin.fault = () => undefined
  const body = { ...YEARLY, payment_method_id: h.standin.card() }
  assert.equal((await h.call('POST', '/subscriptions/subscribe', user, body)).status, 201)
  await h.settle()
  const { data } = (await h.call('GET', '/billing/history', user)).body
  const [payment] = data.filter(({ amount }: { amount: number }) => amount === 79.99)
  const refund = await h.call('POST', '/payments/refund', user, { payment_id: payment.id, reason: 'x' })
  assert.deepEqual([refund.status, refund.body.amount], [201, 79.99])
})
