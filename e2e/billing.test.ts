import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startServer } from '../apps/server/src/index.ts'
import { freshDatabase, temporaryFolder } from '../apps/server/src/platform/testing/index.ts'
import { Api } from './api.ts'

test('with the stand-in a plan is bought in a browser, offline, and premium follows within a second', async (t) => {
  const { url, ownerUrl } = await freshDatabase(t)
  const folder = await temporaryFolder(t)
  const server = await startServer({
    DATABASE_URL: url,
    MIGRATE_DATABASE_URL: ownerUrl,
    DATA_DIR: folder,
    // Without PUBLIC_URL: where checkout may lead back to is known by the port that is found.
    PORT: '0',
    LOG_LEVEL: 'silent',
    STRIPE_STANDIN: '1',
  })
  t.after(() => server.stop())
  const { issuer } = (await (await fetch(`${server.url}/.well-known/oauth-authorization-server`)).json()) as {
    issuer: string
  }
  assert.equal(issuer, server.url)
  assert.notEqual(new URL(server.url).port, '0')
  const api = new Api(server.url)
  const account = { email: 'buyer@example.com', password: 'a long enough passphrase' }
  await api.must('POST', '/auth/register', undefined, account)
  const { access_token } = await api.must<{ access_token: string }>('POST', '/auth/login', undefined, account)
  const plans = await api.must<{ billing_enabled: boolean }>('GET', '/subscriptions/plans')
  assert.equal(plans.billing_enabled, true)
  const { checkout_url } = await api.must<{ checkout_url: string }>('POST', '/payments/create', access_token, {
    plan_type: 'monthly',
    currency: 'USD',
    success_url: `${server.url.replace('127.0.0.1', 'localhost')}/app/billing?session={CHECKOUT_SESSION_ID}`,
    cancel_url: `${server.url}/app/billing`,
  })
  assert.match(await (await fetch(checkout_url)).text(), /Stand-in for Stripe/)
  const paid = await fetch(checkout_url, {
    method: 'POST',
    body: new URLSearchParams({ card: '4242' }),
    redirect: 'manual',
  })
  assert.equal(paid.status, 303)
  assert.ok(paid.headers.get('location')?.includes('/app/billing?session=cs_test_'))
  const began = performance.now()
  for (;;) {
    const { plan } = await api.must<{ plan: string }>('GET', '/subscriptions/status', access_token)
    if (plan === 'premium_monthly') break
    assert.ok(performance.now() - began < 10_000, 'premium never came')
    await sleep(20)
  }
})
