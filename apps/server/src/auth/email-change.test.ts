import assert from 'node:assert/strict'
import { after, beforeEach, test } from 'node:test'
import { emailKey } from '../accounts/index.ts'
import { AppError } from '../platform/errors.ts'
import { accountMac } from './failures.ts'
import { openHouse, PASSWORD, type Member } from './testing/house.ts'
import { whileLocked } from './testing/while-locked.ts'

const LIMIT = 4
const spent = new Map<string, number>()
const attempts = {
  async spend(rule: string, subject: string) {
    const key = `${rule} ${subject}`
    if ((spent.get(key) ?? 0) >= LIMIT) throw new AppError('RATE_LIMITED', 'Too many tries.')
    spent.set(key, (spent.get(key) ?? 0) + 1)
    return async () => undefined
  },
}
const house = await openHouse({ after }, { jobs: true, attempts })
const { sql } = house.database
beforeEach(() => spent.clear())

const NEW_PASSWORD = 'staple correct battery'
const tokenIn = (text = ''): string => /token=([\w-]{43})$/m.exec(text)?.[1] ?? ''
const verify = async (token: string) => (await house.call('POST', '/auth/verify-email', { body: { token } })).statusCode
const reset = async (token: string) =>
  (await house.call('POST', '/auth/reset-password', { body: { token, password: NEW_PASSWORD } })).statusCode
const ask = async ({ token }: Member, email: string) =>
  (await house.call('PUT', '/users/me', { token, body: { email, password: PASSWORD } })).statusCode
const change = ({ token }: Member) =>
  house.call('PATCH', '/users/me/password', { token, body: { current_password: PASSWORD, new_password: NEW_PASSWORD } })
const wishes = ({ id }: Member) => sql`select from pending_emails where user_id = ${id}`
const runMailJob = (kind: string, { id }: Member) => house.auth.jobs['account-mail']?.({ kind, user_id: id })

/** A link in a mail with this subject. */
async function linkTo(address: string, subject: string): Promise<string> {
  const [mail] = await house.mailed(address, subject)
  return tokenIn(mail?.text)
}
async function resetLink(email: string): Promise<string> {
  await house.call('POST', '/auth/forgot-password', { body: { email } })
  return linkTo(email, 'Choose a new password')
}
/** An account in two hands, of which one asked for its own address. */
async function withIntruder(name: string): Promise<{ owner: Member; link: string; intruder: string }> {
  const owner = await house.member(`${name}@example.com`)
  await sql`update users set is_verified = true where id = ${owner.id}`
  const intruder = `${name}.intruder@example.com`
  assert.equal(await ask(owner, intruder), 200)
  return { owner, intruder, link: await linkTo(intruder, 'Confirm your new') }
}

const admin = await house.staff('admin@example.com', 'super_admin')
const byAdmin = (path: string, body: object) => house.call('PUT', `/api/v1${path}`, { token: admin.token, body })

/** What ends the wishes of whoever had the account before. */
const ENDS: Record<string, (owner: Member) => Promise<unknown>> = {
  change: (owner) => change(owner),
  reset: async ({ email }) => reset(await resetLink(email)),
  role: ({ id }) => byAdmin(`/admin/users/${id}/role`, { role: 'support' }),
  off: async ({ id }) => {
    await byAdmin(`/users/${id}/status`, { is_active: false, reason: 'test' })
    await byAdmin(`/users/${id}/status`, { is_active: true, reason: 'test' })
  },
}

test('a change or reset of the password, another role and deactivation end a change of address that somebody asked for', async () => {
  for (const [name, end] of Object.entries(ENDS)) {
    const { owner, link, intruder } = await withIntruder(name)
    await end(owner)
    assert.equal(await verify(link), 400, `${name}: the link that was mailed`)
    assert.equal((await wishes(owner)).length, 0, name)
    await runMailJob('change_email', owner)
    assert.equal((await house.mailed(intruder, 'Confirm')).length, 1, `${name}: a late job mails nothing`)
    const [row] = await sql<{ email: string }[]>`select email from users where id = ${owner.id}`
    assert.equal(row?.email, owner.email, name)
  }
})

test('a link that was mailed before a change of the password, another role or deactivation resets nothing', async () => {
  for (const name of ['change', 'role', 'off']) {
    const owner = await house.member(`link.${name}@example.com`)
    const link = await resetLink(owner.email)
    await ENDS[name]?.(owner)
    assert.equal(await reset(link), 400, name)
  }
})

test('the first proof of an address ends a wish for another that was made before it', async () => {
  const squatter = await house.member('victim@example.com')
  const link = await linkTo('victim@example.com', 'Confirm your e-mail')
  assert.equal(await ask(squatter, 'squatter@example.com'), 200)
  const own = await linkTo('squatter@example.com', 'Confirm your new')
  assert.equal(await verify(link), 200)
  assert.equal((await wishes(squatter)).length, 0)
  assert.equal(await verify(own), 400)
})

test('failed sign-ins are not kept under an address that its account gave up', async () => {
  const { owner, link } = await withIntruder('given.up')
  const kept = () =>
    sql`select from sign_in_failures where account = ${accountMac(house.secrets, emailKey('given.up@example.com'))}`
  assert.equal((await house.login('Given.Up@example.com', 'not the password')).statusCode, 401)
  assert.equal((await kept()).length, 1)
  assert.equal(await verify(link), 200)
  assert.equal((await kept()).length, 0, owner.email)
})

test('an address of an account that is off is not verified and not changed', async () => {
  const { owner, link } = await withIntruder('inactive')
  await sql`update users set is_active = false where id = ${owner.id}`
  assert.equal(await verify(link), 400)
  await sql`update users set is_active = true where id = ${owner.id}`
  assert.equal(await verify(link), 200, 'it was the account alone that stood against it')
})

test('a wish by a password that is changed meanwhile is not noted', async () => {
  const owner = await house.member('meanwhile@example.com')
  const [status] = await whileLocked(
    house,
    owner.id,
    (tx) => tx`update users set hashed_password = 'another' where id = ${owner.id}`,
    () => ask(owner, 'meanwhile.new@example.com'),
  )
  assert.equal(status, 401)
  assert.equal((await wishes(owner)).length, 0)
})

test('of two links that are used at once one counts, and neither waits for the other for ever', async () => {
  const owner = await house.member('twice@example.com')
  const first = await linkTo(owner.email, 'Confirm your e-mail')
  await house.call('POST', '/auth/resend-verification', { body: { email: owner.email } })
  await house.mails(owner.email, 2)
  const second = await linkTo(owner.email, 'Confirm your e-mail')
  assert.notEqual(second, first)
  const nothing = async () => undefined
  const verified = await whileLocked(
    house,
    owner.id,
    nothing,
    () => verify(first),
    () => verify(second),
  )
  assert.deepEqual(
    verified.toSorted((a, b) => a - b),
    [200, 400],
  )

  const one = await resetLink(owner.email)
  await house.call('POST', '/auth/forgot-password', { body: { email: owner.email } })
  await house.mails(owner.email, 4)
  const other = await linkTo(owner.email, 'Choose a new password')
  assert.notEqual(one, other)
  const set = await whileLocked(
    house,
    owner.id,
    nothing,
    () => reset(one),
    () => reset(other),
  )
  assert.deepEqual(
    set.toSorted((a, b) => a - b),
    [204, 400],
  )
})

test('the mails of a change of address are limited by who asks and by where they go', async () => {
  const ada = await house.member('asks@example.com')
  for (let n = 0; n < LIMIT; n++) assert.equal(await ask(ada, `other${n}@example.com`), 200)
  assert.equal(await ask(ada, 'one.more@example.com'), 429)
  spent.clear()
  for (let n = 0; n < LIMIT; n++) assert.equal(await ask(await house.member(`asker${n}@example.com`), 'Target@example.com'), 200) // prettier-ignore
  assert.equal(await ask(await house.member('asker@example.com'), 'target@example.com'), 429)
  spent.clear()
  const wrong = { email: 'unpaid@example.com', password: 'not the password' }
  assert.equal((await house.call('PUT', '/users/me', { token: ada.token, body: wrong })).statusCode, 401)
  assert.equal(spent.size, 0, 'who does not know the password has no mail sent')
})

test('the holder of an address hears at most three times an hour that somebody wanted it', async () => {
  const holder = await house.member('holder@example.com')
  const ada = await house.member('wanter@example.com')
  await house.mails(holder.email, 1)
  for (let n = 0; n < 3; n++) await runMailJob('known', holder)
  await sql`insert into pending_emails (user_id, email) values (${ada.id}, ${holder.email})`
  await runMailJob('change_email', ada)
  await runMailJob('known', holder)
  assert.equal((await house.mailed(holder.email, 'You already have')).length, 3)
})
