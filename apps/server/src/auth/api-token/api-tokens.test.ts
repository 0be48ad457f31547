import assert from 'node:assert/strict'
import { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import { after, test } from 'node:test'
import type { FailedAttempt } from '../../platform/attempts.ts'
import { openHouse, type Member } from '../testing/house.ts'

const failed: FailedAttempt[] = []
const house = await openHouse({ after }, { attempts: { failed: (_req, kind) => void failed.push(kind) } })
const inDays = (days: number): string => new Date(Date.now() + days * 86_400_000).toISOString()

type Made = { id: string; token: string; name: string; scopes: string[]; expires_at: string; last_used_at: null }
const make = (member: Member, wish: object = {}, headers = {}) =>
  house.call('POST', '/api/v1/users/me/api-tokens', {
    token: member.token,
    body: { name: 'backup', scopes: ['vpn'], expires_at: inDays(30), ...wish },
    headers,
  })
const get = (token: string, url = '/api/v1/users/me') => house.call('GET', url, { token })

function rawRequest(token: string): IncomingMessage {
  const req = new IncomingMessage(new Socket())
  req.headers.authorization = `Bearer ${token}`
  return req
}

test('a token is shown once, kept as a hash, listed without it, and acts until it is deleted', async () => {
  const member = await house.member('token@example.com')
  const answer = await make(member)
  assert.equal(answer.statusCode, 201, answer.body)
  const made = answer.json<Made>()
  assert.match(made.token, /^pvt_[\w-]+\.[\w-]{128}$/)
  const list = (await get(member.token, '/api/v1/users/me/api-tokens')).json<{
    data: object[]
    meta: { total: number }
  }>()
  assert.equal(list.meta.total, 1)
  assert.equal('token' in (list.data[0] ?? {}), false)
  const rows = await house.database.sql<{ row: string }[]>`select t::text as row from api_tokens t`
  assert.ok(rows.every(({ row }) => !row.includes(made.token.slice(-40))))

  const me = await get(made.token)
  assert.equal(me.statusCode, 200)
  assert.equal(me.json<{ email: string }>().email, 'token@example.com')
  assert.equal((await house.auth.authenticateToken(made.token)).sessionId, made.id)
  const stranger = await house.member('stranger@example.com')
  const url = `/api/v1/users/me/api-tokens/${made.id}`
  assert.equal((await house.call('DELETE', url, { token: stranger.token })).statusCode, 404)
  assert.equal((await house.call('DELETE', url, { token: member.token })).statusCode, 204)
  assert.equal((await get(made.token)).statusCode, 401)
  assert.equal((await house.call('DELETE', url, { token: member.token })).statusCode, 404)
})

test('scopes leave what they name, and never passwords, factors, sessions, tokens or other roles', async () => {
  const member = await house.member('scoped@example.com')
  const vpn = (await make(member)).json<Made>().token
  const account = (await make(member, { scopes: ['account'] })).json<Made>().token
  const name = (token: string) => house.call('PUT', '/api/v1/users/me', { token, body: { full_name: 'Ada' } })
  assert.equal((await get(vpn, '/api/v1/users/me/devices')).statusCode, 200)
  assert.equal((await name(vpn)).statusCode, 403)
  assert.equal((await name(account)).statusCode, 200)
  for (const token of [vpn, account]) {
    assert.equal((await get(token, '/api/v1/auth/sessions')).statusCode, 403)
    assert.equal((await get(token, '/api/v1/users/me/api-tokens')).statusCode, 403)
    assert.equal((await make({ ...member, token })).statusCode, 403)
    assert.equal((await house.call('POST', '/auth/2fa/setup', { token, body: {} })).statusCode, 403)
    assert.equal((await get(token, '/api/v1/users')).statusCode, 403)
  }
  assert.equal((await make(member, { scopes: ['staff'] })).statusCode, 403)
})

test('a role and a state count as they are at each use', async () => {
  const admin = await house.staff('admin@example.com', 'admin')
  const token = (await make(admin, { scopes: ['staff'], expires_at: inDays(29) })).json<Made>().token
  assert.equal((await get(token, '/api/v1/users')).statusCode, 200)
  assert.equal((await get(token, '/api/v1/auth/sessions')).statusCode, 403)
  await house.database.sql`update users set role = 'user' where id = ${admin.id}`
  assert.equal((await get(token, '/api/v1/users')).statusCode, 403)
  await house.database.sql`update users set is_active = false where id = ${admin.id}`
  assert.equal((await get(token)).statusCode, 401)
})

test('a token cannot sign out: it is told so, and goes on', async () => {
  const member = await house.member('out@example.com')
  const { token } = (await make(member)).json<Made>()
  const answer = await house.call('POST', '/api/v1/auth/logout', { token })
  assert.equal(answer.statusCode, 403)
  assert.equal(answer.headers['clear-site-data'], undefined)
  assert.equal((await get(token)).statusCode, 200)
  assert.equal((await get(member.token)).statusCode, 200)
})

test('deactivation ends tokens for good', async () => {
  const boss = await house.staff('boss@example.com', 'super_admin')
  const member = await house.member('gone@example.com')
  const { token } = (await make(member)).json<Made>()
  const put = (is_active: boolean) =>
    house.call('PUT', `/api/v1/users/${member.id}/status`, { token: boss.token, body: { is_active, reason: 'test' } })
  await put(false)
  assert.equal((await get(token)).statusCode, 401)
  await put(true)
  assert.equal((await get(token)).statusCode, 401)
})

test('a life is at most a year, of staff 30 days, and ends to the second', async () => {
  const admin = await house.staff('life@example.com', 'support')
  for (const wish of [
    { expires_at: inDays(367) },
    { expires_at: inDays(31), scopes: ['staff'] },
    { expires_at: inDays(-1) },
    { expires_at: 'tomorrow' },
    { scopes: [] },
    { scopes: ['all'] },
    { name: 'a\nb' },
  ])
    assert.equal((await make(admin, wish)).statusCode, 400, JSON.stringify(wish))
  const tooLong = await make(admin, { expires_at: inDays(31), scopes: ['staff'] })
  assert.match(tooLong.body, /"must be at most 30 days away when the scopes include `staff`"/)
  const { id, token } = (await make(admin, { expires_at: inDays(365) })).json<Made>()
  await house.database.sql`update api_tokens set expires_at = clock_timestamp() where id = ${id}`
  assert.equal((await get(token)).statusCode, 401)
})

test('a token cut, extended, swapped or with a foreign key proves nothing, before any look-up', async () => {
  const member = await house.member('proof@example.com')
  const { token } = (await make(member)).json<Made>()
  assert.deepEqual(await house.auth.identify(rawRequest(token)), { userId: member.id })
  const swapped = token.slice(0, -1) + (token.endsWith('A') ? 'B' : 'A')
  for (const bad of [swapped, ...[1, 2, 8].flatMap((n) => [token.slice(0, -n), token + 'A'.repeat(n)])]) {
    assert.equal(await house.auth.identify(rawRequest(bad)), 'forged', bad)
    assert.equal((await get(bad)).statusCode, 401)
  }
  const foreign = token.replace(/^pvt_[\w-]+\./, 'pvt_AAAAAAAA.')
  assert.equal(await house.auth.identify(rawRequest(foreign)), 'unknown-kid')
  assert.equal((await get(foreign)).statusCode, 401)
})

test('a repeat with the same key shows the same token and makes one', async () => {
  const member = await house.member('again@example.com')
  const headers = { 'idempotency-key': '0123456789abcdef' }
  const expires_at = inDays(10)
  const [first, second] = [await make(member, { expires_at }, headers), await make(member, { expires_at }, headers)]
  assert.equal(second.headers['idempotent-replayed'], 'true')
  assert.equal(second.json<Made>().token, first.json<Made>().token)
  assert.equal((await house.database.sql`select from api_tokens where user_id = ${member.id}`).count, 1)
})
