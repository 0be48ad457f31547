import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { generateKeyPair } from '@prime-vpn/wireguard'
import { openHouse, PASSWORD, type LoginBody } from './testing/house.ts'

const house = await openHouse({ after }, { jobs: true })
const { sql } = house.database
const NEW_PASSWORD = 'staple correct battery'

const tokenIn = (text: string): string => /token=([\w-]{43})$/m.exec(text)?.[1] ?? ''
const codeIn = (text: string): string => /^(\d{6})$/m.exec(text)?.[1] ?? ''
const sorted = (statuses: number[]) => statuses.toSorted((a, b) => a - b)
const verify = async (body: unknown) => (await house.call('POST', '/auth/verify-email', { body })).statusCode
const forgot = (email: string) => house.call('POST', '/auth/forgot-password', { body: { email } })
const reset = async (token: string, password: string) =>
  (await house.call('POST', '/auth/reset-password', { body: { token, password } })).statusCode
const meStatus = async (token: string) => (await house.call('GET', '/users/me', { token })).statusCode

test('registering mails a link and a code; the link verifies once, by POST alone', async () => {
  const ada = await house.member('ada@example.com')
  const [mail] = await house.mails('ADA@example.com', 1)
  assert.equal(mail?.to, 'ada@example.com')
  const token = tokenIn(mail?.text ?? '')
  assert.ok(token && codeIn(mail?.text ?? ''))
  assert.equal((mail?.text.match(/token=/g) ?? []).length, 1)
  assert.equal((await house.call('GET', `/auth/verify-email?token=${token}`)).statusCode, 405)
  for (const wrong of [token.slice(1), `${token}A`, token.toLowerCase(), 'x'.repeat(43)])
    assert.equal(await verify({ token: wrong }), 400)
  assert.equal(await verify({ token }), 200)
  assert.equal(await verify({ token }), 400)
  assert.equal((await house.login('ada@example.com')).statusCode, 200)
  const [row] = await sql<{ is_verified: boolean }[]>`select is_verified from users where id = ${ada.id}`
  assert.equal(row?.is_verified, true)
})

test('the first proof of an address ends the sessions and removes the devices made before it', async () => {
  const squatter = await house.member('victim@example.com')
  const { publicKey } = generateKeyPair()
  const device = { name: 'x', platform: 'linux', public_key: publicKey }
  assert.equal((await house.call('POST', '/users/me/devices', { token: squatter.token, body: device })).statusCode, 201)
  const [mail] = await house.mails('victim@example.com', 1)
  assert.equal(await verify({ token: tokenIn(mail?.text ?? '') }), 200)
  assert.equal(await meStatus(squatter.token), 401)
  const { access_token: token } = (await house.login('victim@example.com')).json<LoginBody>()
  assert.deepEqual((await house.call('GET', '/users/me', { token })).json<{ devices: unknown[] }>().devices, [])
})

test('a typed code verifies, dies after five wrong tries, and is no use for another address', async () => {
  await house.register('code@example.com')
  await house.register('other@example.com')
  const [mail] = await house.mails('code@example.com', 1)
  const code = codeIn(mail?.text ?? '')
  await house.mails('other@example.com', 1)
  const wrong = code === '000000' ? '111111' : '000000'
  assert.equal(await verify({ email: 'other@example.com', code }), 400)
  assert.equal(await verify({ email: 'nobody@example.com', code }), 400)
  const tries = await Promise.all(Array.from({ length: 12 }, () => verify({ email: 'code@example.com', code: wrong })))
  assert.ok(tries.every((status) => status === 400))
  assert.equal(await verify({ email: 'code@example.com', code }), 400)

  assert.equal(
    (await house.call('POST', '/auth/resend-verification', { body: { email: 'code@example.com' } })).statusCode,
    202,
  )
  const mails = await house.mails('code@example.com', 2)
  const fresh = codeIn(mails[0]?.text ?? '')
  const answers = await Promise.all(Array.from({ length: 4 }, () => verify({ email: 'CODE@example.com', code: fresh })))
  assert.deepEqual(sorted(answers), [200, 400, 400, 400])
})

test('a code is good for ten minutes, a link for a day', async () => {
  await house.register('slow@example.com')
  const [mail] = await house.mails('slow@example.com', 1)
  await sql`update mail_tokens set code_expires_at = code_expires_at - interval '10 minutes' where email = 'slow@example.com'`
  assert.equal(await verify({ email: 'slow@example.com', code: codeIn(mail?.text ?? '') }), 400)
  await sql`update mail_tokens set expires_at = expires_at - interval '24 hours' where email = 'slow@example.com'`
  assert.equal(await verify({ token: tokenIn(mail?.text ?? '') }), 400)
})

test('either a token or an address with a code: all else is 400', async () => {
  for (const body of [
    {},
    { email: 'a@b.example' },
    { code: '123456' },
    { token: 'x', email: 'a@b.example', code: '123456' },
  ])
    assert.equal(await verify(body), 400)
})

test('somebody who registers a known address is told nothing, its owner gets a mail without a link to act', async () => {
  await house.register('owner@example.com')
  await house.mails('owner@example.com', 1)
  await house.register('Owner@example.com')
  const [mail] = await house.mails('owner@example.com', 2)
  assert.match(mail?.subject ?? '', /already have an account/)
  assert.equal(mail?.to, 'owner@example.com')
  assert.equal(tokenIn(mail?.text ?? ''), '')
})

test('a forgotten password is set by the link, once; sessions end, and the answer to unknown addresses is the same', async () => {
  const ada = await house.member('reset@example.com')
  await house.mails('reset@example.com', 1)
  const [known, unknown] = [await forgot('reset@example.com'), await forgot('nobody@example.com')]
  assert.deepEqual([known.statusCode, known.json()], [unknown.statusCode, unknown.json()])
  assert.equal(known.statusCode, 202)
  const mail = (await house.mails('reset@example.com', 2)).find(({ subject }) => /new password/.test(subject))
  const token = tokenIn(mail?.text ?? '')
  assert.equal(codeIn(mail?.text ?? ''), '')
  assert.equal(await verify({ token }), 400, 'a reset token proves nothing elsewhere')
  assert.equal(await reset(token, 'password'), 400)
  const racers = await Promise.all(Array.from({ length: 5 }, () => reset(token, NEW_PASSWORD)))
  assert.deepEqual(sorted(racers), [204, 400, 400, 400, 400])
  assert.equal(await meStatus(ada.token), 401)
  assert.equal((await house.call('POST', '/auth/refresh', { body: { refresh_token: ada.refresh } })).statusCode, 401)
  assert.equal((await house.login('reset@example.com')).statusCode, 401)
  assert.equal((await house.login('reset@example.com', NEW_PASSWORD)).statusCode, 200)
  await house.mails('reset@example.com', 3)
  const [row] = await sql<{ is_verified: boolean }[]>`select is_verified from users where id = ${ada.id}`
  assert.equal(row?.is_verified, true)
})

test('a reset link dies after thirty minutes and with its account', async () => {
  await house.register('dead@example.com')
  await forgot('dead@example.com')
  const mails = await house.mails('dead@example.com', 2)
  const token = tokenIn(mails.find(({ subject }) => /new password/.test(subject))?.text ?? '')
  await sql`update users set is_active = false where email = 'dead@example.com'`
  assert.equal(await reset(token, NEW_PASSWORD), 400)
  await sql`update users set is_active = true where email = 'dead@example.com'`
  await sql`update mail_tokens set expires_at = expires_at - interval '30 minutes' where kind = 'reset'`
  assert.equal(await reset(token, NEW_PASSWORD), 400)
})

test('a new address needs the password, counts once proven, and tells the old one', async () => {
  const ada = await house.member('old@example.com')
  const put = (body: unknown) => house.call('PUT', '/users/me', { token: ada.token, body })
  assert.equal((await put({ email: 'new@example.com' })).statusCode, 400)
  assert.equal((await put({ email: 'new@example.com', password: 'wrong' })).statusCode, 401)
  assert.equal((await put({ password: PASSWORD })).statusCode, 400)
  const asked = await put({ email: 'new@example.com', password: PASSWORD, full_name: 'Ada' })
  assert.equal(asked.statusCode, 200)
  assert.deepEqual(
    [asked.json<{ email: string }>().email, asked.json<{ full_name: string }>().full_name],
    ['old@example.com', 'Ada'],
  )
  const [proof] = await house.mails('new@example.com', 1)
  await house.mails('old@example.com', 2)
  assert.equal(await verify({ token: tokenIn(proof?.text ?? '') }), 200)
  assert.equal((await house.login('old@example.com')).statusCode, 401)
  assert.equal((await house.login('new@example.com')).statusCode, 200)
})

test('an address that is taken is neither told nor taken over', async () => {
  await house.register('taken@example.com')
  await house.mails('taken@example.com', 1)
  const ada = await house.member('wants@example.com')
  const asked = await house.call('PUT', '/users/me', {
    token: ada.token,
    body: { email: 'taken@example.com', password: PASSWORD },
  })
  assert.equal(asked.statusCode, 200)
  const [mail] = await house.mails('taken@example.com', 2)
  assert.match(mail?.subject ?? '', /already have an account/)
})

test('where verification is required an unverified account signs in like a wrong password, and gets its mail again', async (t) => {
  const strict = await openHouse(t, { jobs: true, env: { REQUIRE_EMAIL_VERIFICATION: 'true' } })
  await strict.register('strict@example.com')
  await strict.mails('strict@example.com', 1)
  const [right, wrong] = [await strict.login('strict@example.com'), await strict.login('strict@example.com', 'wrong')]
  const told = (answer: typeof right) => [
    answer.statusCode,
    answer.json<{ error: { message: string } }>().error.message,
  ]
  assert.deepEqual(told(right), told(wrong))
  const [again] = await strict.mails('strict@example.com', 2)
  await strict.call('POST', '/auth/verify-email', { body: { token: tokenIn(again?.text ?? '') } })
  assert.equal((await strict.login('strict@example.com')).statusCode, 200)
})

test('no more than three links of a kind in an hour', async () => {
  await house.register('many@example.com')
  await house.mails('many@example.com', 1)
  for (let n = 2; n <= 3; n++) {
    await house.call('POST', '/auth/resend-verification', { body: { email: 'many@example.com' } })
    await house.mails('many@example.com', n)
  }
  const [user] = await sql<{ id: string }[]>`select id from users where email = 'many@example.com'`
  await house.auth.jobs['account-mail']?.({ kind: 'verify', user_id: user?.id })
  assert.equal((await house.mails('many@example.com', 3)).length, 3)
})

test('neither tokens, codes nor addresses lie readable in jobs, tokens or outbox', async () => {
  const mails = await house.mails('ada@example.com', 1)
  const dumps = await house.database.owner`
    select row_to_json(o)::text as text from mail_outbox o union all select row_to_json(j)::text from graphile_worker._private_jobs j
     union all select (row_to_json(m)::jsonb - 'email')::text from mail_tokens m`
  const dump = dumps.map(({ text }) => String(text)).join('\n')
  for (const { text } of mails) assert.equal(dump.includes(tokenIn(text)), false)
  assert.equal(dump.includes('@example.com'), false)
})
