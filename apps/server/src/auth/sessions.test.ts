import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { after, test } from 'node:test'
import { authorize, registerApps } from './oauth/testing/apps.ts'
import { openHouse, openTwoInstances, PASSWORD, type LoginBody } from './testing/house.ts'

const house = await openHouse({ after })
const NEW_PASSWORD = 'staple correct battery'

type Listed = { id: string; device_name: string | null; client: string | null; current: boolean }
const sessionsOf = async (token: string) =>
  (await house.call('GET', '/auth/sessions', { token })).json<{ data: Listed[]; meta: { total: number } }>()
const meStatus = async (token: string) => (await house.call('GET', '/users/me', { token })).statusCode

test('without a token, with another scheme or a broken one the answer is 401 with a challenge', async () => {
  const headers: (Record<string, string> | undefined)[] = [
    undefined,
    { authorization: 'Basic YTpi' },
    { authorization: 'Bearer' },
    { authorization: 'Bearer a b' },
    { authorization: 'Bearer nonsense' },
  ]
  for (const given of headers) {
    const answer = await house.call('GET', '/users/me', given ? { headers: given } : {})
    assert.equal(answer.statusCode, 401)
    assert.match(String(answer.headers['www-authenticate']), /^Bearer/)
    assert.equal(answer.json<{ error: { code: string } }>().error.code, 'UNAUTHENTICATED')
  }
})

test('logging out kills this session at once and no other', async () => {
  const ada = await house.member('out@example.com')
  const other = (await house.login('out@example.com')).json<LoginBody>()
  const answer = await house.call('POST', '/auth/logout', { token: ada.token })
  assert.equal(answer.statusCode, 204)
  assert.ok(answer.headers['clear-site-data'])
  assert.equal(await meStatus(ada.token), 401)
  assert.equal((await house.call('POST', '/auth/refresh', { body: { refresh_token: ada.refresh } })).statusCode, 401)
  assert.equal(await meStatus(other.access_token), 200)
})

test('logging out everywhere kills all sessions of the caller and nobody else', async () => {
  const [ada, bob] = [await house.member('all@example.com'), await house.member('bob@example.com')]
  const other = (await house.login('all@example.com')).json<LoginBody>()
  assert.equal((await house.call('POST', '/auth/logout-all', { token: other.access_token })).statusCode, 204)
  assert.deepEqual(
    [await meStatus(ada.token), await meStatus(other.access_token), await meStatus(bob.token)],
    [401, 401, 200],
  )
})

test('own sessions are listed without an address and ended one by one; a foreign one does not exist', async () => {
  const ada = await house.member('list@example.com')
  const answer = await house.call('POST', '/auth/login', {
    body: { email: 'list@example.com', password: PASSWORD, device_name: 'Laptop' },
    headers: { 'user-agent': 'Firefox\t/150\u00e9' },
  })
  const laptop = answer.json<LoginBody>()
  const { data, meta } = await sessionsOf(laptop.access_token)
  assert.equal(meta.total, 2)
  assert.deepEqual(Object.keys(data[0] ?? {}).toSorted(), [
    'client',
    'country',
    'created_at',
    'current',
    'device_name',
    'id',
    'last_used_at',
  ])
  const current = data.find((session) => session.current)
  assert.equal(current?.device_name, 'Laptop')
  assert.equal(current?.client, 'Firefox/150')

  const bob = await house.member('foreign@example.com')
  const first = data.find((session) => !session.current)
  assert.equal((await house.call('DELETE', `/auth/sessions/${first?.id}`, { token: bob.token })).statusCode, 404)
  assert.equal(await meStatus(ada.token), 200)
  assert.equal(
    (await house.call('DELETE', `/auth/sessions/${first?.id}`, { token: laptop.access_token })).statusCode,
    204,
  )
  assert.equal(await meStatus(ada.token), 401)
  assert.equal(
    (await house.call('DELETE', `/auth/sessions/${first?.id}`, { token: laptop.access_token })).statusCode,
    404,
  )
  assert.equal((await house.call('DELETE', '/auth/sessions/1', { token: laptop.access_token })).statusCode, 404)
})

test('what is revoked on one instance is refused on the other at the next request, and its sockets hear of it', async (t) => {
  const [here, there] = await openTwoInstances(t)
  const ada = await here.member('two@example.com')
  const principal = await there.auth.authenticateToken(ada.token)
  const heard = new Promise((resolve) => there.auth.onSessionRevoked(resolve))
  assert.equal((await there.call('GET', '/users/me', { token: ada.token })).statusCode, 200)
  await here.call('POST', '/auth/logout', { token: ada.token })
  assert.equal((await there.call('GET', '/users/me', { token: ada.token })).statusCode, 401)
  assert.deepEqual(await heard, { userId: ada.id, sessionId: principal.sessionId })
  assert.equal(await there.auth.refreshPrincipal(principal), null)
  await assert.rejects(there.auth.authenticateToken(ada.token), { code: 'UNAUTHENTICATED' })
})

test('a new password needs the old one, ends the other sessions, and keeps this one', async () => {
  const ada = await house.member('change@example.com')
  const other = (await house.login('change@example.com')).json<LoginBody>()
  const change = (current_password: string, new_password: string) =>
    house.call('PATCH', '/users/me/password', { token: ada.token, body: { current_password, new_password } })
  assert.equal((await change('wrong', NEW_PASSWORD)).statusCode, 401)
  assert.equal((await change(PASSWORD, 'change@example.com')).statusCode, 400)
  assert.equal((await house.login('change@example.com')).statusCode, 200)
  assert.equal((await change(PASSWORD, NEW_PASSWORD)).statusCode, 200)
  assert.deepEqual([await meStatus(ada.token), await meStatus(other.access_token)], [200, 401])
  assert.equal((await house.login('change@example.com')).statusCode, 401)
  assert.equal((await house.login('change@example.com', NEW_PASSWORD)).statusCode, 200)
})

test('of many password changes at once with the same old password one wins', async () => {
  const ada = await house.member('racer@example.com')
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, n) =>
      house.call('PATCH', '/users/me/password', {
        token: ada.token,
        body: { current_password: PASSWORD, new_password: `number ${n} of the candidates` },
      }),
    ),
  )
  assert.equal(answers.filter(({ statusCode }) => statusCode === 200).length, 1)
  assert.equal(answers.filter(({ statusCode }) => statusCode === 401).length, 7)
})

test('old sessions and their tokens are swept, live ones stay', async () => {
  const [gone, alive] = [await house.member('gone@example.com'), await house.member('alive@example.com')]
  await house.database
    .sql`update sessions set revoked_at = clock_timestamp() - interval '25 hours' where user_id = ${gone.id}`
  await house.auth.jobs['auth-sweep']?.({})
  const rows = await house.database.sql<{ user_id: string }[]>`
    select s.user_id from sessions s join refresh_tokens r on r.session_id = s.id where s.user_id in (${gone.id}, ${alive.id})`
  assert.deepEqual(
    rows.map(({ user_id }) => user_id),
    [alive.id],
  )
})

test('a session shows the country it was opened from, and nothing is kept of the address', async (t) => {
  const countryOf = ({ socket }: IncomingMessage) => (socket.remoteAddress === '127.0.0.1' ? 'NL' : null)
  const placed = await openHouse(t, { countryOf })
  const { token } = await placed.member('placed@example.com')
  await placed.call('POST', '/auth/login?session=cookie', { body: { email: 'placed@example.com', password: PASSWORD } })
  await registerApps(placed)
  await authorize(placed, 'placed@example.com')
  const list = await placed.call('GET', '/auth/sessions', { token })
  assert.deepEqual(
    list.json<{ data: { country: string | null }[] }>().data.map(({ country }) => country),
    ['NL', 'NL', 'NL'],
    'by token, by cookie and of an app',
  )
  const rows = await placed.database.sql`select s::text as row from sessions s`
  assert.ok(rows.every(({ row }) => !String(row).includes('127.0.0.1')))
})
