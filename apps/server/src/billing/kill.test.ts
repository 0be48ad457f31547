import assert from 'node:assert/strict'
import { fork, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { suite, test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { freshDatabase, temporaryFolder } from '../platform/testing/index.ts'
import { StripeStandin, type Fault } from './standin/index.ts'
import { freePort } from '../platform/free-port.ts'

/** The long form kills before each call; the short one before every third, and after each. */
const LONG = process.env.PRIME_LONG === '1'
const INSTANCE = new URL('testing/instance.ts', import.meta.url).pathname
const URLS = { success_url: 'https://vpn.example.com/ok', cancel_url: 'https://vpn.example.com/back' }

/** A server process that is started again whenever it was killed. */
class Instance {
  readonly port: number
  readonly #start: () => ChildProcess
  #child: ChildProcess | undefined
  #dying: Promise<void> = Promise.resolve()
  constructor(port: number, start: () => ChildProcess) {
    this.port = port
    this.#start = start
  }
  async up(): Promise<void> {
    await this.#dying
    if (this.#child) return
    const child = this.#start()
    this.#child = child
    await Promise.race([
      once(child, 'message'),
      once(child, 'exit').then(() => assert.fail('the server did not start')),
    ])
  }
  /** Its port and its connections are free once `up` goes on. */
  kill(): void {
    const child = this.#child
    if (!child) return
    this.#child = undefined
    this.#dying = once(child, 'exit').then(() => undefined)
    child.kill('SIGKILL')
  }
  async call(path: string, user: string, body: object): Promise<{ status: number; body: Record<string, string> }> {
    const answer = await fetch(`http://127.0.0.1:${this.port}/api/v1${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-user': user },
      body: JSON.stringify(body),
    })
    return { status: answer.status, body: (await answer.json()) as Record<string, string> }
  }
}

async function shop(t: TestContext) {
  const { sql, owner, url } = await freshDatabase(t)
  const standin = await StripeStandin.start()
  t.after(() => standin.close())
  const port = await freePort()
  standin.delivery.to(`http://127.0.0.1:${port}/api/v1/payments/webhook`)
  const env = {
    PATH: process.env.PATH,
    // Most of a start is reading modules, and there are many starts.
    NODE_COMPILE_CACHE: await temporaryFolder(t),
    PORT: String(port),
    STRIPE_SECRET_KEY: standin.apiKey,
    STRIPE_API_BASE: standin.base,
    STRIPE_WEBHOOK_SECRET: standin.webhookSecret,
  }
  const instance = new Instance(port, () => fork(INSTANCE, [url], { env, stdio: 'ignore' }))
  t.after(() => instance.kill())
  await instance.up()
  const user = async () => {
    const id = randomUUID()
    await sql`insert into users (id, email, is_verified) values (${id}, ${`${id}@example.com`}, true)`
    return id
  }
  return { sql, owner, standin, instance, user }
}
type Shop = Awaited<ReturnType<typeof shop>>

/** Repeats a call as a client does whose connection broke, until the server has an answer. */
async function insist({ instance }: Shop, path: string, user: string, body: object) {
  for (let n = 0; n < 20; n++) {
    await instance.up()
    const answer = await instance.call(path, user, body).catch(() => undefined)
    if (answer && answer.status < 500) return answer
    await sleep(20)
  }
  return assert.fail('the server never answered')
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 20_000; !(await holds()); await sleep(30))
    assert.ok(Date.now() < end, `${what} did not come to be`)
}

const isPremium = async ({ sql }: Shop, user: string): Promise<boolean> =>
  (await sql<{ tier: string }[]>`select tier from entitlements where user_id = ${user}`)[0]?.tier === 'premium'

/** A call without the id in it: `POST /v1/payment_methods/:id/attach`. */
const nameOf = (call: string): string => call.replace(/\/[a-z]+_\w{20,}/g, '/:id')

/**
 * Kills the server at a call to Stripe: before Stripe has done it, or after.
 * @param isIt hears the names of all calls since now at each of them
 * @returns the name of the call it was killed at
 */
function killAt(
  { standin, instance }: Shop,
  isIt: (calls: string[]) => boolean,
  when: Exclude<Fault, 'refuse' | undefined>,
): () => string | undefined {
  const first = standin.calls.length
  let killedAt: string | undefined
  standin.fault = () => {
    if (killedAt !== undefined) return undefined
    const calls = standin.calls.slice(first).map(nameOf)
    if (!isIt(calls)) return undefined
    killedAt = calls.at(-1)
    instance.kill()
    return when
  }
  return () => killedAt
}

/** What Stripe has of a user: subscriptions that run, and money that was taken and not given back. */
async function atStripe(s: Shop, user: string): Promise<{ live: number; kept: number }> {
  const [row] = await s.sql<{ id: string | null }[]>`
    select stripe_customer_id as id from billing_customers where user_id = ${user}`
  const of = (it: { customer: string }) => it.customer === row?.id
  return {
    live: s.standin.store.all('subscription', (it) => of(it) && it.status === 'active').length,
    kept: s.standin.store
      .all('charge', (it) => of(it) && it.paid)
      .reduce((sum, it) => sum + it.amount - it.amount_refunded, 0),
  }
}

const PAID_ONCE = { live: 1, kept: 999 }

const subscribe = (s: Shop, user: string) =>
  insist(s, '/subscriptions/subscribe', user, { plan_id: 'premium_monthly', payment_method_id: s.standin.card() })

/**
 * The calls to Stripe of a purchase whose webhooks are lost: they all stem from the customer's request, so each is a
 * crash point and there are no others. The first purchase also makes the price at Stripe.
 */
async function crashPoints(s: Shop): Promise<string[]> {
  s.standin.delivery.lost = true
  const user = await s.user()
  const first = s.standin.calls.length
  assert.equal((await subscribe(s, user)).status, 201)
  assert.deepEqual(await atStripe(s, user), PAID_ONCE)
  const points = s.standin.calls.slice(first).map(nameOf)
  for (const needed of ['/v1/products', '/v1/customers', '/v1/subscriptions', '/v1/charges'])
    assert.ok(
      points.some((point) => point.endsWith(needed)),
      `${needed} is not among ${points.join(', ')}`,
    )
  return points
}

suite('killed', () => {
  for (const when of ['drop-before', 'drop-after'] as const) {
    test(`at each call to Stripe (${when}), a subscription that is asked for again is paid once and gives premium`, async (t) => {
      const s = await shop(t)
      const points = await crashPoints(s)
      const killed: string[] = []
      const step = LONG || when === 'drop-after' ? 1 : 3
      const kills = points.map((_, index) => index + 1).filter((n) => n % step === 0)
      // One beyond the last: there the purchase must go through undisturbed, or points were left out.
      for (const n of [...kills, points.length + 1]) {
        await s.sql`update plan_prices set stripe_price_id = null`
        const user = await s.user()
        const killedAt = killAt(s, (calls) => calls.length === n, when)
        const answer = await subscribe(s, user)
        const where = `call ${n}, ${killedAt() ?? 'none'}, ${when}`
        assert.equal(answer.status, 201, `${where}: ${JSON.stringify(answer)}`)
        assert.ok(await isPremium(s, user), `${where}: no premium`)
        assert.deepEqual(await atStripe(s, user), PAID_ONCE, where)
        const point = killedAt()
        if (point !== undefined) killed.push(point)
      }
      assert.equal(killed.length, kills.length, `killed at ${killed.join(', ')}`)
    })
  }

  test('around the payment, a subscription that is not asked for again is paid and premium, or neither', async (t) => {
    const s = await shop(t)
    await crashPoints(s)
    const PAYING = 'POST /v1/subscriptions'
    const earlier = ['POST /v1/customers', 'POST /v1/payment_methods/:id/attach', 'POST /v1/customers/:id']
    const later = ['GET /v1/subscriptions', 'GET /v1/invoices', 'GET /v1/charges']
    for (const point of [...(LONG ? earlier : earlier.slice(-1)), PAYING, ...(LONG ? later : later.slice(-1))]) {
      const user = await s.user()
      const known = s.standin.events.length
      // What is still read for the one before must not be taken for this one's.
      const isIt = (calls: string[]) => calls.at(-1) === point && (!later.includes(point) || calls.includes(PAYING))
      const killedAt = killAt(s, isIt, 'drop-after')
      const body = { plan_id: 'premium_monthly', payment_method_id: s.standin.card() }
      await s.instance.call('/subscriptions/subscribe', user, body).catch(() => undefined)
      assert.equal(killedAt(), point)
      await s.instance.up()
      s.standin.delivery.lost = false
      for (const event of s.standin.events.slice(known)) s.standin.delivery.send(event)
      s.standin.delivery.lost = true
      await s.standin.delivery.idle()
      await until(
        `all events applied after a kill at ${point}`,
        async () => (await s.sql`select from billing_events where applied_at is null limit 1`).length === 0,
      )
      const isPaid = !earlier.includes(point)
      assert.deepEqual(await atStripe(s, user), isPaid ? PAID_ONCE : { live: 0, kept: 0 }, point)
      assert.equal(await isPremium(s, user), isPaid, point)
    }
  })

  test('while webhooks come in, a paid page gives premium all the same', async (t) => {
    const s = await shop(t)
    for (const wait of [0, 5, 15, 40]) {
      const user = await s.user()
      const { body } = await insist(s, '/payments/create', user, { plan_id: 'premium_monthly', ...URLS })
      s.standin.pay(body.session_id ?? '')
      await sleep(wait)
      s.instance.kill()
      await s.instance.up()
      await until(`premium after ${wait} ms`, () => isPremium(s, user))
      assert.deepEqual(await atStripe(s, user), PAID_ONCE, `${wait} ms`)
    }
  })
})
