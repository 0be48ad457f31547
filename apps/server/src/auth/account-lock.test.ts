import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { AppError } from '../platform/errors.ts'
import { takeSignInCode } from './mail/sign-in-code.ts'
import { openHouse, PASSWORD } from './testing/house.ts'

const ALLOWED = 5
const spent: [string, string][] = []
const attempts = {
  async spend(rule: string, subject: string) {
    spent.push([rule, subject])
    if (rule === 'AUTH_ACCOUNT_NETWORK' && spent.filter(([r]) => r === rule).length > 1)
      throw new AppError('RATE_LIMITED', 'Too many tries.')
    return async () => undefined
  },
}
const house = await openHouse({ after }, { jobs: true, attempts, failuresAllowed: ALLOWED })

const login = (email: string, password = PASSWORD, totp?: string) =>
  house.call('POST', '/auth/login', { body: { email, password, ...(totp ? { totp } : {}) } })
const code = (text: string): string => /^(\d{6})$/m.exec(text)?.[1] ?? ''

async function failed(email: string, times: number): Promise<void> {
  for (let i = 0; i < times; i++) assert.equal((await login(email, 'not the password')).statusCode, 401)
}

test('after too many wrong passwords the right one also needs a mailed code, until a success', async () => {
  await house.member('target@example.com')
  await failed('Target@example.com', ALLOWED)
  const asked = await login('target@example.com')
  assert.equal(asked.json<{ error: { code: string } }>().error.code, 'TOTP_REQUIRED')
  const [mail] = await house.mailed('target@example.com', 'Your sign-in code')
  const sent = code(mail?.text ?? '')
  assert.equal((await login('target@example.com', PASSWORD, sent === '000000' ? '000001' : '000000')).statusCode, 401)
  assert.equal((await login('target@example.com', 'not the password', sent)).statusCode, 401)
  assert.equal((await login('target@example.com', PASSWORD, sent)).statusCode, 200)
  assert.equal((await login('target@example.com')).statusCode, 200, 'a success opens it again')
})

test('a success in between begins the count anew', async () => {
  await house.member('typo@example.com')
  await failed('typo@example.com', ALLOWED - 1)
  assert.equal((await login('typo@example.com')).statusCode, 200)
  await failed('typo@example.com', ALLOWED - 1)
  assert.equal((await login('typo@example.com')).statusCode, 200)
})

test('an unknown address is counted like a known one, and by no readable name', async () => {
  await failed('nobody@example.com', ALLOWED + 2)
  const rows = await house.database.sql<{ account: Buffer; in_a_row: number }[]>`
    select account, in_a_row from sign_in_failures where in_a_row = ${ALLOWED + 2}`
  assert.equal(rows.length, 1)
  assert.equal(rows[0]?.account.length, 32)
})

test('of twenty who take one mailed sign-in code one gets it', async () => {
  const { id, email } = await house.member('crowd@example.com')
  await failed(email, ALLOWED)
  await login(email)
  const [mail] = await house.mailed(email, 'Your sign-in code')
  const parts = { db: house.database.sql, secrets: house.secrets }
  const sent = code(mail?.text ?? '')
  const taken = await Promise.all(Array.from({ length: 20 }, () => takeSignInCode(parts, id, email, sent)))
  assert.equal(taken.filter(Boolean).length, 1)
})

test('a mailed sign-in code dies after five wrong tries', async () => {
  await house.member('tries@example.com')
  await failed('tries@example.com', ALLOWED)
  await login('tries@example.com')
  const [mail] = await house.mailed('tries@example.com', 'Your sign-in code')
  const sent = code(mail?.text ?? '')
  const wrong = sent === '000000' ? '000001' : '000000'
  for (let i = 0; i < 5; i++) assert.equal((await login('tries@example.com', PASSWORD, wrong)).statusCode, 401)
  assert.equal((await login('tries@example.com', PASSWORD, sent)).statusCode, 401)
})

test('where no mail is sent a closed account takes a try a minute from each network', async () => {
  const silent = await openHouse({ after }, { env: { MAIL: 'off' }, attempts, failuresAllowed: ALLOWED })
  await silent.member('silent@example.com')
  const tryIn = (password: string) =>
    silent.call('POST', '/auth/login', { body: { email: 'silent@example.com', password } })
  for (let i = 0; i < ALLOWED; i++) assert.equal((await tryIn('not the password')).statusCode, 401)
  assert.equal((await tryIn('not the password')).statusCode, 401)
  assert.equal((await tryIn(PASSWORD)).statusCode, 429)
})

test('a signed-in caller gets no more tries at the password than a sign-in, and a success begins the count anew', async () => {
  const { token } = await house.member('found@example.com')
  const change = (current_password: string, new_password = 'a fresh long passphrase') =>
    house.call('PATCH', '/users/me/password', { token, body: { current_password, new_password } })
  for (let i = 0; i < ALLOWED - 1; i++) assert.equal((await change('not the password')).statusCode, 401)
  assert.equal((await change(PASSWORD)).statusCode, 200)
  for (let i = 0; i < ALLOWED; i++) assert.equal((await change(PASSWORD)).statusCode, 401)
  const closed = await change('a fresh long passphrase', 'another long passphrase')
  assert.equal(closed.statusCode, 401)
  assert.match(closed.body, /Sign in again/)
  await login('found@example.com', 'a fresh long passphrase')
  const [mail] = await house.mailed('found@example.com', 'Your sign-in code')
  assert.equal((await login('found@example.com', 'a fresh long passphrase', code(mail?.text ?? ''))).statusCode, 200)
  assert.equal((await change('a fresh long passphrase', 'another long passphrase')).statusCode, 200)
})
