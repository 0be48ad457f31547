import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { after, test } from 'node:test'
import { newId } from '../../platform/ids.ts'
import { codeAt } from '../../auth/testing/authenticator.ts'
import { readOutbox } from '../../platform/mail/index.ts'
import { openHouse, PASSWORD, type Member } from '../../auth/testing/house.ts'

const house = await openHouse({ after }, { jobs: true })
const { sql } = house.database

async function soon<T>(read: () => Promise<T | undefined>): Promise<T> {
  for (let i = 0; i < 200; i++) {
    const found = await read()
    if (found !== undefined) return found
    await sleep(25)
  }
  throw new Error('it did not come')
}

/** Somebody who has used all there is. */
async function livedIn(email: string): Promise<Member & { key: string }> {
  const member = await house.member(email)
  // A point of the curve has no 256th bit.
  const key = Buffer.concat([randomBytes(31), Buffer.of(7)]).toString('base64')
  const tag = email.split('.')[0] ?? ''
  const call = (method: 'POST' | 'PUT', url: string, body: object) =>
    house.call(method, url, { token: member.token, body })
  await call('PUT', '/api/v1/users/me', { full_name: `${tag} Wilhelmina` })
  await call('PUT', '/api/v1/users/me', { email: `new.${email}`, password: PASSWORD })
  await call('POST', '/api/v1/users/me/devices', { name: `${tag} phone`, platform: 'ios', public_key: key })
  await call('POST', '/api/v1/users/me/api-tokens', {
    name: `${tag} backup`,
    scopes: ['vpn'],
    expires_at: new Date(Date.now() + 86_400_000).toISOString(),
  })
  const { secret } = (await call('POST', '/api/v1/auth/2fa/setup', {})).json<{ secret: string }>()
  const on = await call('POST', '/api/v1/auth/2fa/enable', { code: codeAt(secret) })
  assert.equal(on.statusCode, 200)
  await house.login(email, 'a wrong password')
  await sql`
    insert into connections (id, user_id, client_ip, client_public_key, lease_slot, lease_version, status, ended_at, bytes_sent)
    values (${newId()}, ${member.id}, '10.77.1.2', ${key}, 2, 1, 'disconnected', clock_timestamp(), 9007199254740993)`
  await sql`insert into usage_daily (user_id, day) values (${member.id}, current_date)`.catch(() => undefined)
  await house.mails(email, 3)
  await house.mails(`new.${email}`, 1)
  return { ...member, key }
}

const mailsTo = async (to: string): Promise<number> =>
  (await readOutbox({ db: sql, secrets: house.secrets }, { page: 1, per_page: 1 }, to)).total
const waitingJobs = async (): Promise<number> => (await house.database.owner`select from graphile_worker.jobs`).count

/** Every row of every table as text, with what stands in bytes readable too. */
async function dump(): Promise<string> {
  const { owner } = house.database
  const tables = await owner<{ name: string }[]>`
    select format('%I.%I', table_schema, table_name) as name from information_schema.tables
     where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')`
  const texts: string[] = []
  for (const { name } of tables) {
    const rows = await owner.unsafe<{ row: string }[]>(`select t::text as row from ${name} t`)
    for (const { row } of rows) {
      const bytes = [...row.matchAll(/\\x([0-9a-f]+)/g)].map(([, hex]) =>
        Buffer.from(hex ?? '', 'hex').toString('latin1'),
      )
      texts.push([name, row, ...bytes].join(' '))
    }
  }
  return texts.join('\n').toLowerCase()
}

test('a copy of all data is made, for the session that asked, once the password was right', async () => {
  const member = await livedIn('copy.quux@example.com')
  const ask = (password?: string) =>
    house.call('POST', '/api/v1/users/me/export', { token: member.token, body: password ? { password } : {} })
  const read = () => house.call('GET', '/api/v1/users/me/export', { token: member.token })
  assert.equal((await ask()).statusCode, 400)
  assert.equal((await ask('wrong')).statusCode, 401)
  assert.equal((await read()).statusCode, 404)
  const asked = await ask(PASSWORD)
  assert.equal(asked.statusCode, 202)
  assert.match(asked.json<{ export_id: string }>().export_id, /^[0-9a-f-]{36}$/)
  const answer = await soon(async () => {
    const found = await read()
    return found.statusCode === 200 ? found : undefined
  })
  assert.equal(answer.headers['cache-control'], 'no-store')
  const data = answer.json<Record<string, Record<string, unknown>[]>>()
  assert.equal(data.users?.[0]?.email, 'copy.quux@example.com')
  assert.equal(data.devices?.[0]?.name, 'copy phone')
  assert.equal(data.api_tokens?.[0]?.name, 'copy backup')
  assert.match(answer.body, /"bytes_sent":9007199254740993[,}]/, '64-bit counts are exact')
  assert.doesNotMatch(answer.body, /argon2|secret_hash|hashed_password/)

  const elsewhere = await house.database.sql`
    update data_exports set session_id = ${newId()} where user_id = ${member.id}`
  assert.equal(elsewhere.count, 1)
  assert.equal((await read()).statusCode, 404, 'another session does not read it')
  assert.ok(!(await dump()).includes('"bytes_sent":9007199254740993'), 'it lies sealed')
})

test('a repeat with the same key asks for one copy, also where the first answer was never made', async () => {
  const member = await house.member('again.quux@example.com')
  const headers = { 'idempotency-key': 'export-0123456789' }
  const ask = () =>
    house.call('POST', '/api/v1/users/me/export', { token: member.token, headers, body: { password: PASSWORD } })
  const [first, second] = [await ask(), await ask()]
  assert.equal(first.statusCode, 202)
  assert.equal(second.headers['idempotent-replayed'], 'true')
  await sql`
    update idempotency_marks set status = null, answer = null, claimed_at = clock_timestamp() - interval '31 seconds'`
  const third = await ask()
  assert.deepEqual([third.statusCode, third.body, second.body], [202, first.body, first.body])
  const rows = await sql<{ id: string }[]>`select id from data_exports where user_id = ${member.id}`
  assert.equal(rows[0]?.id, first.json<{ export_id: string }>().export_id)
})

test('after an erasure no table holds anything of the person, and the address can be registered anew', async () => {
  const member = await livedIn('gone.quux@example.com')
  const erase = (password: string) =>
    house.call('DELETE', '/api/v1/users/me', { token: member.token, body: { password } })
  assert.equal((await erase('wrong')).statusCode, 401)
  const before = await dump()
  for (const trace of ['gone.quux', 'gone wilhelmina', 'gone phone', 'gone backup', member.key.toLowerCase()])
    assert.ok(before.includes(trace), `the test can see ${trace}`)
  const failures = async () => (await sql`select from sign_in_failures`).count
  const counted = await failures()
  assert.equal((await erase(PASSWORD)).statusCode, 202)
  assert.equal((await house.call('GET', '/users/me', { token: member.token })).statusCode, 401)
  await soon(async () => ((await sql`select from users where id = ${member.id}`).count === 0 ? true : undefined))

  const left = await dump()
  const texts = ['gone.quux', 'new.gone', 'gone wilhelmina', 'gone phone', 'gone backup', member.key.toLowerCase()]
  for (const trace of texts) {
    assert.ok(!left.includes(trace), trace)
    assert.ok(!left.includes(Buffer.from(trace).toString('hex')), `${trace} in bytes`)
  }
  for (const to of ['gone.quux@example.com', 'new.gone.quux@example.com']) assert.equal(await mailsTo(to), 0, to)
  const lines = left.split('\n').filter((line) => line.includes(member.id))
  assert.deepEqual(
    lines.map((line) => line.split(' ')[0]),
    ['public.audit_log'],
    'the id alone is left, where it says that it was erased',
  )
  assert.equal(await failures(), counted - 1)

  assert.equal((await house.register('gone.quux@example.com')).statusCode, 201)
  assert.equal((await house.login('gone.quux@example.com')).statusCode, 200)
  assert.equal((await house.call('POST', '/auth/refresh', { body: { refresh_token: member.refresh } })).statusCode, 401)
})

test('with an account all its mails go, also to an address it had before and to one it wished and gave up', async () => {
  const { id } = await livedIn('moved.quux@example.com')
  await sql`update users set email = 'newest.moved.quux@example.com' where id = ${id}`
  await sql`delete from pending_emails where user_id = ${id}`
  await sql`delete from mail_tokens where user_id = ${id}`
  const had = ['moved.quux@example.com', 'new.moved.quux@example.com']
  for (const to of had) assert.ok((await mailsTo(to)) > 0, to)
  await sql`delete from users where id = ${id}`
  for (const to of had) assert.equal(await mailsTo(to), 0, to)
})

test('an erasure whose job gave up is begun again, once its own hour is over', async () => {
  const { id } = await house.member('left.quux@example.com')
  const asked = (minutes: number) => sql`
    update users set is_active = false, erasure_asked_at = clock_timestamp() - make_interval(mins => ${minutes}) where id = ${id}`
  const sweep = () => sql`select graphile_worker.add_job('erasures-sweep')`
  const isThere = async () => (await sql`select from users where id = ${id}`).count === 1
  await asked(59)
  await sweep()
  await soon(async () => ((await waitingJobs()) === 0 ? true : undefined))
  assert.ok(await isThere())
  await asked(61)
  await sweep()
  await soon(async () => ((await isThere()) ? undefined : true))
})

test('the last super admin cannot be erased', async () => {
  const boss = await house.staff('boss@example.com', 'super_admin')
  const erase = () => house.call('DELETE', '/api/v1/users/me', { token: boss.token, body: { password: PASSWORD } })
  assert.equal((await erase()).statusCode, 409)
  await house.staff('boss2@example.com', 'super_admin')
  assert.equal((await erase()).statusCode, 202)
})
