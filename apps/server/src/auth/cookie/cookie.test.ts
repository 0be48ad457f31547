import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { throwawaySecrets } from '../../platform/secrets.ts'
import { openHouse, PASSWORD, PUBLIC_URL } from '../testing/house.ts'
import { sessionCookies } from './cookie.ts'

const house = await openHouse({ after })
const own = { origin: PUBLIC_URL }

async function browser(email: string) {
  await house.register(email)
  const answer = await house.call('POST', '/api/v1/auth/login?session=cookie', {
    body: { email, password: PASSWORD },
    headers: own,
  })
  const line = String(answer.headers['set-cookie'])
  const cookie = line.split(';')[0] ?? ''
  const csrf = await house.call('GET', '/api/v1/auth/csrf', { headers: { cookie } })
  return { answer, line, cookie, csrf: csrf.json<{ csrf_token: string }>().csrf_token }
}

test('a browser signs in by a cookie that scripts cannot read, and gets no tokens', async () => {
  const { answer, line, cookie } = await browser('web@example.com')
  assert.equal(answer.statusCode, 200)
  assert.deepEqual(Object.keys(answer.json<object>()), ['user'])
  assert.match(line, /^prime_session=pvc_[^;]+; Path=\/; Max-Age=7776000; HttpOnly; SameSite=Strict$/)
  const me = await house.call('GET', '/api/v1/users/me', { headers: { cookie } })
  assert.equal(me.statusCode, 200)
  const rows = await house.database.sql<{ row: string }[]>`select s::text as row from sessions s where kind = 'cookie'`
  assert.ok(rows.every(({ row }) => !row.includes(cookie.slice(-40))))
})

test('on https the cookie is Secure and bound to the host by its name', () => {
  const cookies = sessionCookies('https://vpn.example.com', throwawaySecrets())
  assert.equal(cookies.set('x', 60), '__Host-prime_session=x; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure')
  const from = (origin: string) => cookies.isOwnOrigin({ headers: { origin, host: 'vpn.example.com' } } as never)
  assert.equal(from('https://vpn.example.com'), true)
  for (const origin of [
    'http://vpn.example.com',
    'https://vpn.example.com.evil.example',
    'null',
    'http://localhost:8000',
  ])
    assert.equal(from(origin), false, origin)
})

test('a write needs our own origin and the token; a read needs neither', async () => {
  const { cookie, csrf } = await browser('csrf@example.com')
  const other = await browser('other@example.com')
  const write = (headers: Record<string, string>) =>
    house.call('PUT', '/api/v1/users/me', { body: { full_name: 'Ada' }, headers: { cookie, ...headers } })
  assert.equal((await write({ ...own, 'x-csrf-token': csrf })).statusCode, 200)
  for (const headers of [
    {},
    own,
    { 'x-csrf-token': csrf },
    { origin: 'https://evil.example', 'x-csrf-token': csrf },
    { origin: 'null', 'x-csrf-token': csrf },
    { ...own, 'x-csrf-token': other.csrf },
    { ...own, 'x-csrf-token': csrf.slice(1) },
  ])
    assert.equal((await write(headers)).statusCode, 403, JSON.stringify(headers))
})

test("another site's page signs nobody in", async () => {
  await house.register('login@example.com')
  const answer = await house.call('POST', '/auth/login?session=cookie', {
    body: { email: 'login@example.com', password: PASSWORD },
    headers: { origin: 'https://evil.example' },
  })
  assert.equal(answer.statusCode, 403)
  assert.equal(answer.headers['set-cookie'], undefined)
})

test('signing out ends the session, removes the cookie and tells the browser to forget', async () => {
  const { cookie, csrf } = await browser('out@example.com')
  const headers = { cookie, ...own, 'x-csrf-token': csrf }
  const out = await house.call('POST', '/api/v1/auth/logout', { body: {}, headers })
  assert.equal(out.statusCode, 204)
  assert.match(String(out.headers['clear-site-data']), /storage/)
  assert.match(String(out.headers['set-cookie']), /^prime_session=; Path=\/; Max-Age=0;/)
  assert.equal((await house.call('GET', '/users/me', { headers: { cookie } })).statusCode, 401)
})

test('a cut, swapped or foreign cookie, and one sent as a bearer, are refused', async () => {
  const { cookie } = await browser('cut@example.com')
  const value = cookie.slice('prime_session='.length)
  for (const bad of [cookie.slice(0, -1), `${cookie}A`, cookie.slice(0, -1) + (cookie.endsWith('A') ? 'B' : 'A')])
    assert.equal((await house.call('GET', '/users/me', { headers: { cookie: bad } })).statusCode, 401)
  assert.equal((await house.call('GET', '/users/me', { token: value })).statusCode, 401)
  const member = await house.member('bearer@example.com')
  assert.equal(
    (await house.call('GET', '/users/me', { headers: { cookie: `prime_session=${member.token}` } })).statusCode,
    401,
  )
  const csrf = await house.call('GET', '/auth/csrf', { token: member.token })
  assert.equal(csrf.statusCode, 403, 'a session by token has no CSRF token')
})

test('use moves the idle end, up to the absolute one', async () => {
  const { cookie } = await browser('idle@example.com')
  const sql = house.database.sql
  const soon = sql`clock_timestamp() + interval '1 minute'`
  const mine = sql`kind = 'cookie' and user_id = (select id from users where email = 'idle@example.com')`
  await sql`update sessions set last_used_at = clock_timestamp() - interval '2 minutes', idle_expires_at = ${soon} where ${mine}`
  assert.equal((await house.call('GET', '/users/me', { headers: { cookie } })).statusCode, 200)
  const [row] = await sql<{ moved: boolean }[]>`
    select idle_expires_at > clock_timestamp() + interval '29 days' and idle_expires_at <= expires_at as moved
      from sessions where ${mine}`
  assert.equal(row?.moved, true)
  await sql`update sessions set idle_expires_at = clock_timestamp() where ${mine}`
  assert.equal((await house.call('GET', '/users/me', { headers: { cookie } })).statusCode, 401)
})

test('signing in again in a browser ends the session its cookie stood for, of the same user alone', async () => {
  const first = await browser('again@example.com')
  const other = await browser('neighbour@example.com')
  const signIn = (cookie: string, password = PASSWORD) =>
    house.call('POST', '/api/v1/auth/login?session=cookie', {
      body: { email: 'again@example.com', password },
      headers: { ...own, cookie },
    })
  const me = async (cookie: string) => (await house.call('GET', '/users/me', { headers: { cookie } })).statusCode
  assert.equal((await signIn(first.cookie, 'not the password')).statusCode, 401)
  assert.equal(await me(first.cookie), 200, 'a failed sign-in ends nothing')
  const second = String((await signIn(first.cookie)).headers['set-cookie']).split(';')[0] ?? ''
  assert.deepEqual([await me(first.cookie), await me(second)], [401, 200])
  assert.equal((await signIn(other.cookie)).statusCode, 200)
  assert.equal(await me(other.cookie), 200)
  const forged = second.slice(0, -1) + (second.endsWith('A') ? 'B' : 'A')
  assert.equal((await signIn(forged)).statusCode, 200)
  assert.equal(await me(second), 200)
})
