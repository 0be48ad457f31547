import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { openHouse, type Member } from '../auth/testing/house.ts'
import { ROLES, type Role } from './permissions.ts'

const house = await openHouse({ after })
const { sql } = house.database

/** Signed in with a password that is long enough for staff, so that nothing must be changed first. */
const staff = (email: string, role: Role) => house.staff(email, role)
const setStatus = (token: string, id: string, is_active: boolean) =>
  house.call('PUT', `/users/${id}/status`, { token, body: { is_active, reason: 'a test' } })
const setRole = (token: string, id: string, role: string) =>
  house.call('PUT', `/admin/users/${id}/role`, { token, body: { role } })
const meStatus = async (token: string) => (await house.call('GET', '/users/me', { token })).statusCode
const roleOf = async ({ id }: Member) => (await sql<{ role: Role }[]>`select role from users where id = ${id}`)[0]?.role

const chief = await staff('chief@example.com', 'super_admin')
const admin = await staff('admin@example.com', 'admin')
const support = await staff('support@example.com', 'support')
const user = await house.member('user@example.com')

test('each staff call is open to exactly the roles that hold its permission', async () => {
  const victim = await house.member('matrix@example.com')
  const callers: Record<Role, Member> = { user, support, admin, super_admin: chief }
  const calls = [
    { least: 'support', call: (token: string) => house.call('GET', '/users', { token }) },
    { least: 'support', call: (token: string) => house.call('GET', `/users/${victim.id}`, { token }) },
    { least: 'admin', call: (token: string) => setStatus(token, victim.id, true) },
    { least: 'super_admin', call: (token: string) => setRole(token, victim.id, 'user') },
    { least: 'super_admin', call: (token: string) => house.call('GET', '/admin/mail-outbox', { token }) },
  ] as const
  for (const { least, call } of calls) {
    for (const role of ROLES) {
      const due = ROLES.indexOf(role) >= ROLES.indexOf(least) ? 200 : 403
      assert.equal((await call(callers[role].token)).statusCode, due, `${call.toString()} as ${role}`)
    }
    assert.equal((await call('')).statusCode, 401)
  }
})

test('switching an account off ends its sessions at once and keeps it out until it is switched on; old ones stay dead', async () => {
  const ada = await house.member('ada@example.com')
  const off = await setStatus(admin.token, ada.id, false)
  assert.deepEqual([off.statusCode, off.json<{ is_active: boolean }>().is_active], [200, false])
  assert.equal(await meStatus(ada.token), 401)
  assert.equal((await house.login('ada@example.com')).statusCode, 401)
  assert.equal((await setStatus(admin.token, ada.id, true)).statusCode, 200)
  assert.equal(await meStatus(ada.token), 401)
  assert.equal((await house.call('POST', '/auth/refresh', { body: { refresh_token: ada.refresh } })).statusCode, 401)
  assert.equal((await house.login('ada@example.com')).statusCode, 200)
})

test('whoever hangs on an account hears in the transaction that it ends, and why', async () => {
  const ada = await house.member('heard@example.com')
  const heard: string[] = []
  house.ends.push(async (tx, userId, why) => {
    const [row] = await tx<{ is_active: boolean }[]>`select is_active from users where id = ${userId}`
    heard.push(`${why} ${row?.is_active}`)
    return async () => void heard.push('announced')
  })
  await setStatus(admin.token, ada.id, false)
  house.ends.pop()
  assert.deepEqual(heard, ['deactivated false', 'announced'])
})

test('an admin has no power over a super admin, and nobody over a user that does not exist', async () => {
  assert.equal((await setStatus(admin.token, chief.id, false)).statusCode, 403)
  assert.equal((await setStatus(chief.token, '0198c0de-0000-7000-8000-00000000dead', false)).statusCode, 404)
  assert.equal((await setStatus(chief.token, 'nonsense', false)).statusCode, 404)
  assert.equal((await setRole(chief.token, user.id, 'god')).statusCode, 400)
})

test('a change of role ends the sessions, counts at the next sign-in, and is audited without values', async () => {
  const ada = await house.member('rise@example.com')
  assert.equal((await setRole(chief.token, ada.id, 'support')).statusCode, 200)
  assert.equal(await meStatus(ada.token), 401)
  const rows = await sql<
    { actor_id: string; action: string; fields: string[]; subject_id: string; request_id: string }[]
  >`
    select actor_id, action, fields, subject_id, request_id from audit_log where subject_id = ${ada.id}`
  assert.equal(rows.length, 1)
  const { request_id, ...rest } = { ...rows[0] }
  assert.deepEqual(rest, { actor_id: chief.id, action: 'user.role_changed', fields: ['role'], subject_id: ada.id })
  assert.match(String(request_id), /^req_/)
})

test('who becomes staff with a password too short for staff must change it first', async () => {
  await house.register('short@example.com', 'eight ch')
  await sql`update users set role = 'support' where email = 'short@example.com'`
  const answer = await house.login('short@example.com', 'eight ch')
  assert.equal(answer.json<{ password_change_required: boolean }>().password_change_required, true)
})

test('the last super admin can neither be demoted nor switched off, also when two demote each other', async () => {
  assert.equal((await setRole(chief.token, chief.id, 'user')).statusCode, 409)
  assert.equal((await setStatus(chief.token, chief.id, false)).statusCode, 409)
  for (let round = 0; round < 5; round++) {
    const second = await staff(`second${round}@example.com`, 'super_admin')
    const first = await staff(`first${round}@example.com`, 'super_admin')
    await sql`update users set role = 'admin' where role = 'super_admin' and id not in (${first.id}, ${second.id})`
    await Promise.all([
      setRole(first.token, second.id, 'user'),
      setRole(second.token, first.id, 'user'),
      setRole(first.token, first.id, 'user'),
      setStatus(second.token, second.id, false),
    ])
    const left = await sql`select from users where role = 'super_admin' and is_active`
    assert.ok(left.length >= 1, `round ${round}`)
  }
  await sql`update users set role = 'super_admin' where id = ${chief.id}`
})

test('a role lowered a moment ago gives no power: racing changes never lift anybody', async () => {
  const rogue = await staff('rogue@example.com', 'super_admin')
  const friend = await house.member('friend@example.com')
  const boss = (await house.login('chief@example.com')).json<{ access_token: string }>().access_token
  const [lowered, ...tries] = await Promise.all([
    setRole(boss, rogue.id, 'user'),
    ...Array.from({ length: 40 }, () => setRole(rogue.token, rogue.id, 'super_admin')),
  ])
  assert.equal(lowered?.statusCode, 200)
  assert.ok(tries.every(({ statusCode }) => [200, 401, 403].includes(statusCode)))
  assert.equal(await roleOf(rogue), 'user')
  assert.equal((await setRole(rogue.token, friend.id, 'admin')).statusCode, 401)
})

test('accounts are searched by parts of address or name, wildcards being letters like others', async () => {
  await house.register('100%_sure@example.com')
  const token = (await house.login('support@example.com')).json<{ access_token: string }>().access_token
  const find = async (query: string) =>
    (await house.call('GET', `/users?${query}`, { token })).json<{
      data: { email: string }[]
      meta: { total: number }
    }>()
  assert.deepEqual(
    (await find('search=%25_SURE')).data.map(({ email }) => email),
    ['100%_sure@example.com'],
  )
  assert.equal((await find('search=%25%25%25')).meta.total, 0)
  assert.equal((await find(`search=${encodeURIComponent("' or true --")}`)).meta.total, 0)
  assert.ok((await find('status=inactive')).data.every((row) => row.email !== 'support@example.com'))
  const page = await find('per_page=2&page=2')
  assert.equal(page.data.length, 2)
  assert.ok(page.meta.total > 4)
  for (const query of ['status=gone', 'page=0', 'per_page=101', 'sort=email', 'search=a&search=b', 'page=1;drop'])
    assert.equal((await house.call('GET', `/users?${query}`, { token })).statusCode, 400, query)
})
