import assert from 'node:assert/strict'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { after, test } from 'node:test'
import type { FailedAttempt } from '../platform/attempts.ts'
import { openHouse, PASSWORD } from './testing/house.ts'

const heard: FailedAttempt[] = []
const clock = { time: Date.now(), now: () => clock.time }
const house = await openHouse({ after }, { attempts: { failed: (_req, kind) => void heard.push(kind) }, clock })

test('wrong passwords, codes and secrets count whichever route they come by', async () => {
  const ada = await house.member('ada@example.com')
  const { token } = ada
  const cases: [FailedAttempt, () => Promise<{ statusCode: number }>][] = [
    ['password', () => house.login('ada@example.com', 'wrong')],
    ['password', () => house.login('nobody@example.com', 'wrong')],
    [
      'password',
      () =>
        house.call('PATCH', '/users/me/password', {
          token,
          body: { current_password: 'wrong', new_password: PASSWORD },
        }),
    ],
    ['password', () => house.call('PUT', '/users/me', { token, body: { email: 'x@example.com', password: 'wrong' } })],
    ['code', () => house.call('POST', '/auth/verify-email', { body: { email: 'ada@example.com', code: '123456' } })],
    ['secret', () => house.call('POST', '/auth/verify-email', { body: { token: 'x'.repeat(43) } })],
    ['secret', () => house.call('POST', '/auth/reset-password', { body: { token: 'nonsense', password: PASSWORD } })],
    ['secret', () => house.call('POST', '/auth/refresh', { body: { refresh_token: 'nonsense' } })],
    ['secret', () => house.call('POST', '/auth/refresh', { body: { refresh_token: `prt_${'x'.repeat(43)}` } })],
  ]
  for (const [kind, call] of cases) {
    heard.length = 0
    const { statusCode } = await call()
    assert.ok(statusCode === 401 || statusCode === 400)
    assert.deepEqual(heard, [kind], call.toString())
  }
})

test('a missing credential, an ended session, a refused permission and a bad field are no attempts', async () => {
  const bob = await house.member('bob@example.com')
  heard.length = 0
  await house.call('GET', '/users/me')
  await house.call('GET', '/users', { token: bob.token })
  await house.call('POST', '/auth/register', { body: { email: 'new@example.com', password: 'password' } })
  await house.call('POST', '/auth/login', { body: { email: 'bob@example.com' } })
  await house.call('POST', '/auth/logout', { token: bob.token })
  await house.call('POST', '/auth/refresh', { body: { refresh_token: bob.refresh } })
  assert.deepEqual(heard, [])
})

test('what a request proves by its signature is told from wherever the token stands', async () => {
  const eve = await house.member('eve@example.com')
  const identify = (headers: Record<string, string>, url = '/') => {
    const req = new IncomingMessage(new Socket())
    Object.assign(req, { headers, url })
    return house.auth.identify(req)
  }
  const known = { userId: eve.id }
  assert.deepEqual(await identify({ authorization: `Bearer ${eve.token}` }), known)
  assert.deepEqual(await identify({ 'sec-websocket-protocol': `prime.v1, bearer.${eve.token}` }), known)
  assert.deepEqual(await identify({}, `/ws/connection/${eve.id}?token=${eve.token}`), known)
  assert.equal(await identify({}, '/ws/connection/x?token=a-ticket'), null)
  assert.equal(await identify({}), null)
  assert.equal(await identify({ authorization: 'Basic YTpi' }), null)
  assert.equal(await identify({ authorization: `Bearer ${eve.token.slice(0, -1)}` }), 'forged')
  const [head = '', ...rest] = eve.token.split('.')
  const lost = { ...(JSON.parse(Buffer.from(head, 'base64url').toString()) as object), kid: 'lost' }
  assert.equal(
    await identify({
      authorization: `Bearer ${[Buffer.from(JSON.stringify(lost)).toString('base64url'), ...rest].join('.')}`,
    }),
    'unknown-kid',
  )
  await house.call('POST', '/auth/logout', { token: eve.token })
  assert.deepEqual(await identify({ authorization: `Bearer ${eve.token}` }), known, 'sessions are not looked at here')
  clock.time += 1_800_000
  assert.equal(await identify({ authorization: `Bearer ${eve.token}` }), 'expired')
})
