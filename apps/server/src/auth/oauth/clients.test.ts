import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { openHouse } from '../testing/house.ts'
import { authorize, NATIVE } from './testing/apps.ts'

const house = await openHouse({ after })
const boss = await house.staff('boss@example.com', 'super_admin')
const admin = await house.staff('admin@example.com', 'admin')
const BASE = '/admin/oauth-clients'
const call = (method: 'GET' | 'POST' | 'PUT' | 'DELETE', url: string, body?: object, token = boss.token) =>
  house.call(method, url, { token, ...(body ? { body } : {}) })

test('staff registers, lists, changes and removes apps; each act is noted', async () => {
  const made = await call('POST', BASE, NATIVE)
  assert.equal(made.statusCode, 201)
  assert.deepEqual(made.json<{ scopes: string[] }>().scopes, ['openid', 'email', 'offline_access', 'vpn', 'account'])
  assert.equal((await call('POST', BASE, NATIVE)).statusCode, 409)
  const list = (await call('GET', BASE)).json<{ data: { client_id: string; shipped: boolean }[] }>().data
  assert.deepEqual(
    list.map(({ client_id, shipped }) => [client_id, shipped]),
    [
      [NATIVE.client_id, false],
      ['prime-cli', true],
    ],
  )
  const { client_id, ...wish } = NATIVE
  const changed = await call('PUT', `${BASE}/${client_id}`, { ...wish, name: 'Other' })
  assert.equal(changed.json<{ name: string }>().name, 'Other')
  const actions = await house.database.sql<{ action: string }[]>`
    select action from audit_log where subject_id = ${client_id} order by id`
  assert.deepEqual(
    actions.map(({ action }) => action),
    ['oauth_client.created', 'oauth_client.changed'],
  )
})

test('a repeat with the same key answers the first app again, and one after a crash makes no second', async () => {
  const wish = { ...NATIVE, client_id: 'again-app' }
  const headers = { 'idempotency-key': 'register-again-app' }
  const post = (body: object) => house.call('POST', BASE, { token: boss.token, body, headers })
  const first = await post(wish)
  const again = await post(wish)
  assert.deepEqual([first.statusCode, again.statusCode], [201, 201])
  assert.equal(again.headers['idempotent-replayed'], 'true')
  assert.equal(again.body, first.body)
  // The instance died after the effect, before its answer.
  await house.database.sql`
    update idempotency_marks set status = null, answer = null, claimed_at = clock_timestamp() - interval '1 minute'`
  const resumed = await post(wish)
  assert.deepEqual([resumed.statusCode, resumed.body], [201, first.body])
  assert.equal((await call('DELETE', `${BASE}/again-app`)).statusCode, 204)
})

test('removing an app ends what it was given', async () => {
  await house.member('ada@example.com')
  const { tokens } = await authorize(house, 'ada@example.com')
  assert.equal((await house.call('GET', '/users/me', { token: tokens.access_token })).statusCode, 200)
  assert.equal((await call('DELETE', `${BASE}/${NATIVE.client_id}`)).statusCode, 204)
  assert.equal((await house.call('GET', '/users/me', { token: tokens.access_token })).statusCode, 401)
  assert.equal((await call('DELETE', `${BASE}/${NATIVE.client_id}`)).statusCode, 404)
})

test('the shipped app stays as it is, and only a super admin registers any', async () => {
  const wish = { name: 'Mine', kind: 'native', redirect_uris: ['https://evil.example/'] }
  assert.equal((await call('PUT', `${BASE}/prime-cli`, wish)).statusCode, 409)
  assert.equal((await call('DELETE', `${BASE}/prime-cli`)).statusCode, 409)
  for (const [method, url, body] of [
    ['GET', BASE],
    ['POST', BASE, { client_id: 'x-app', ...wish }],
    ['PUT', `${BASE}/prime-cli`, wish],
    ['DELETE', `${BASE}/prime-cli`],
  ] as const)
    assert.equal((await call(method, url, body, admin.token)).statusCode, 403)
})

test('addresses, kinds and ids that will not do are refused and named', async () => {
  const wish = { client_id: 'ok-app', name: 'App', kind: 'native', redirect_uris: ['com.example.app:/cb'] }
  const faulty: object[] = [
    { redirect_uris: [] },
    { redirect_uris: ['javascript:alert(1)'] },
    { redirect_uris: ['com.example.app:/cb', 'com.example.app:/cb'] },
    { kind: 'web' },
    { kind: 'device' },
    { kind: 'service' },
    { client_id: 'No' },
    { client_id: '../x' },
    { name: 'a\nb' },
    { scopes: ['staff'] },
    { shipped: true },
  ]
  for (const change of faulty) {
    const answer = await call('POST', BASE, { ...wish, ...change })
    assert.equal(answer.statusCode, 400, JSON.stringify(change))
    assert.ok(answer.json<{ error: { details: unknown[] } }>().error.details.length > 0)
  }
})
