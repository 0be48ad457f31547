import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { StripeStandin } from '../apps/server/src/billing/standin/index.ts'
import { startServer } from '../apps/server/src/index.ts'
import { defer, freshDatabase, temporaryFolder } from '../apps/server/src/platform/testing/index.ts'
import { Api } from './api.ts'

const PRIME = fileURLToPath(new URL('../apps/cli/bin/prime.js', import.meta.url))

type Said = { code: number; out: string; err: string }

/** A call of an operator's own to Stripe. */
async function made({ apiKey, base }: StripeStandin, path: string, form: Record<string, string>): Promise<string> {
  const answer = await fetch(`${base}/v1/${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}` },
    body: new URLSearchParams(form),
  })
  const { id } = (await answer.json()) as { id?: string }
  return id ?? assert.fail(`${path} was not made`)
}

/** Runs `prime`; its own process, since the stand-in lives in this one. */
async function prime(env: Record<string, string>, cwd: string, ...args: string[]): Promise<Said> {
  const child = spawn(process.execPath, [PRIME, ...args], {
    cwd,
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [out, err] = ['', '']
  child.stdout.on('data', (data: Buffer) => (out += data.toString()))
  child.stderr.on('data', (data: Buffer) => (err += data.toString()))
  const [code] = (await once(child, 'close')) as [number]
  return { code, out, err }
}

async function aStripe(t: TestContext) {
  const standin = await StripeStandin.start()
  defer(t, () => standin.close())
  return { standin, keys: { STRIPE_SECRET_KEY: standin.apiKey, STRIPE_API_BASE: standin.base } }
}

test('sync-plans makes the prices that Stripe does not know, once, and takes those that are configured', async (t) => {
  const { sql, url, ownerUrl } = await freshDatabase(t)
  const folder = await temporaryFolder(t)
  const { standin, keys } = await aStripe(t)
  const own = await made(standin, 'prices', {
    product: await made(standin, 'products', { name: 'Ours' }),
    currency: 'usd',
    unit_amount: '1234',
    'recurring[interval]': 'month',
  })
  const env = {
    ...keys,
    DATA_DIR: folder,
    DATABASE_URL: url,
    MIGRATE_DATABASE_URL: ownerUrl,
    STRIPE_MONTHLY_PRICE_ID: own,
  }
  const first = await prime(env, folder, 'billing', 'sync-plans', '--json')
  assert.deepEqual([first.code, JSON.parse(first.out)], [0, { made: 1 }], first.err)
  assert.deepEqual(
    standin.store.all('price').map(({ unit_amount }) => unit_amount),
    [7999, 1234],
  )
  const [monthly] = await sql`select price_minor from plans where id = 'premium_monthly'`
  assert.equal(monthly?.price_minor, 1234)
  const again = await prime(env, folder, 'billing', 'sync-plans')
  assert.deepEqual([again.code, again.out.trim()], [0, 'Stripe knows every price already.'])
  assert.equal(standin.store.all('price').length, 2)
  const moved = await prime(env, folder, 'billing', 'move', '--json')
  assert.deepEqual([moved.code, JSON.parse(moved.out)], [0, { moved: false }], moved.err)
})

test('reconcile repairs, beside the running service, what missed webhooks left', async (t) => {
  const folder = await temporaryFolder(t)
  const { standin, keys } = await aStripe(t)
  const env = { ...keys, DATA_DIR: folder }
  const server = await startServer({ ...env, PORT: '0', LOG_LEVEL: 'silent', RATE_LIMIT_ENABLED: 'false' })
  defer(t, () => server.stop())
  const api = new Api(server.url)
  const user = await api.user()
  const planOf = async () => (await api.must<{ plan: string }>('GET', '/subscriptions/status', user.token)).plan
  const { session_id } = await api.must<{ session_id: string }>('POST', '/payments/create', user.token, {
    plan_id: 'premium_monthly',
    success_url: `${server.url}/app/billing`,
    cancel_url: `${server.url}/app/billing`,
  })
  assert.ok(standin.pay(session_id))
  assert.equal(await planOf(), 'free')
  const told = await prime(env, folder, 'billing', 'reconcile', '--json')
  assert.deepEqual([told.code, JSON.parse(told.out)], [0, { read: 1, repaired: 1, failed: 0 }], told.err)
  assert.equal(await planOf(), 'premium_monthly')
  const again = await prime(env, folder, 'billing', 'reconcile')
  assert.deepEqual([again.code, again.out.trim()], [0, 'Compared 1 customer with Stripe; 0 differences repaired.'])
})

test('where there is no Stripe the command says so, before it touches anything', async (t) => {
  const folder = await temporaryFolder(t)
  const nowhere = { DATA_DIR: folder, DATABASE_URL: 'postgres://nobody@127.0.0.1:1/nothing' }
  for (const [env, words] of [
    [{}, /^prime billing: Billing is switched off: STRIPE_SECRET_KEY is not set\.$/m],
    [{ STRIPE_STANDIN: '1' }, /^prime billing: The stand-in for Stripe .* lives inside prime serve/m],
  ] as const) {
    const { code, out, err } = await prime({ ...nowhere, ...env }, folder, 'billing', 'reconcile')
    assert.deepEqual([code, out], [1, ''])
    assert.match(err, words)
  }
})

test('a Stripe that is away, and words that make no sense, have their exit codes', async (t) => {
  const { url, ownerUrl } = await freshDatabase(t)
  const folder = await temporaryFolder(t)
  const { standin, keys } = await aStripe(t)
  standin.fault = () => 'refuse'
  const env = { ...keys, DATA_DIR: folder, DATABASE_URL: url, MIGRATE_DATABASE_URL: ownerUrl }
  const away = await prime(env, folder, 'billing', 'sync-plans', '--json')
  assert.deepEqual([away.code, away.out], [1, ''])
  assert.match(away.err, /^prime billing: Stripe is away\.$/m)
  assert.ok(!away.err.includes(standin.apiKey))
  for (const wrong of [[], ['sync'], ['reconcile', 'all'], ['reconcile', '--force']]) {
    const { code, err } = await prime({}, folder, 'billing', ...wrong)
    assert.equal(code, 2, wrong.join(' '))
    assert.match(err, /^prime billing: /)
  }
  assert.match((await prime({}, folder, 'billing', '--help')).out, /sync-plans[\s\S]*reconcile[\s\S]*--json/)
})
