import assert from 'node:assert/strict'
import { fork, type ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { freshDatabase } from '../platform/testing/index.ts'
import { StripeStandin, type Fault } from './standin/index.ts'

/** The long form kills at every call, the short one at every fourth. */
const STEP = process.env.PRIME_LONG === '1' ? 1 : 4
/** A purchase has some ten calls; on a busy machine webhooks and repeats add to them without end worth waiting for. */
const LAST = process.env.PRIME_LONG === '1' ? 60 : 24
const INSTANCE = new URL('testing/instance.ts', import.meta.url).pathname
const URLS = { success_url: 'https://vpn.example.com/ok', cancel_url: 'https://vpn.example.com/back' }

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

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

/** Kills the server at the n-th call to Stripe since now: before Stripe has done it, or after. */
function killAt({ standin, instance }: Shop, n: number, when: Exclude<Fault, 'refuse' | undefined>): () => boolean {
  const first = standin.calls.length
  let killed = false
  standin.fault = () => {
    if (killed || standin.calls.length - first !== n) return undefined
    killed = true
    instance.kill()
    return when
  }
  return () => killed
}

async function assertPaidOnce(s: Shop, user: string, when: string): Promise<void> {
  const [row] = await s.sql<
    { id: string }[]
  >`select stripe_customer_id as id from billing_customers where user_id = ${user}`
  const of = (it: { customer: string }) => it.customer === row?.id
  const live = s.standin.store.all('subscription', (it) => of(it) && it.status === 'active')
  const kept = s.standin.store
    .all('charge', (it) => of(it) && it.paid)
    .reduce((sum, it) => sum + it.amount - it.amount_refunded, 0)
  assert.deepEqual([live.length, kept], [1, 999], when)
}

for (const when of ['drop-before', 'drop-after'] as const) {
  test(`killed at any call to Stripe (${when}), a subscription is paid once and gives premium`, async (t) => {
    const s = await shop(t)
    for (let n = 1, killed = true; killed && n <= LAST; n += STEP) {
      const user = await s.user()
      const wasKilled = killAt(s, n, when)
      const body = { plan_id: 'premium_monthly', payment_method_id: s.standin.card() }
      const answer = await insist(s, '/subscriptions/subscribe', user, body)
      // 409: the killed call had gone through, and a webhook told so before the repeat.
      assert.ok(answer.status === 201 || answer.status === 409, JSON.stringify(answer))
      await s.instance.up()
      await until(`premium after a kill at call ${n}`, () => isPremium(s, user))
      await assertPaidOnce(s, user, `call ${n}, ${when}`)
      killed = wasKilled()
      assert.ok(killed || n > 1, 'no purchase goes without a call')
    }
  })
}

test('killed while webhooks come in, a paid page gives premium all the same', async (t) => {
  const s = await shop(t)
  for (const wait of [0, 5, 15, 40]) {
    const user = await s.user()
    const { body } = await insist(s, '/payments/create', user, { plan_id: 'premium_monthly', ...URLS })
    s.standin.pay(body.session_id ?? '')
    await sleep(wait)
    s.instance.kill()
    await s.instance.up()
    await until(`premium after ${wait} ms`, () => isPremium(s, user))
    await assertPaidOnce(s, user, `${wait} ms`)
  }
})
