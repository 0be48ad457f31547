import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { codeAt, wrongCode } from '../testing/authenticator.ts'
import { openHouse, PASSWORD, type LoginBody, type Member } from '../testing/house.ts'
import { AppError } from '../../platform/errors.ts'
import { totpStep } from './totp.ts'

const STEP_MS = 30_000
const clock = { at: Date.now(), now: () => clock.at }
const charged = new Map<string, number>()
const house = await openHouse(
  { after },
  {
    clock,
    jobs: true,
    attempts: {
      async spend(rule, subject) {
        const key = `${rule} ${subject}`
        const spent = (charged.get(key) ?? 0) + 1
        if (spent > 10) throw new AppError('RATE_LIMITED', 'Too many tries.')
        charged.set(key, spent)
        return async () => void charged.set(key, (charged.get(key) ?? 0) - 1)
      },
    },
  },
)

const post = (member: Member, path: string, body: object = {}) =>
  house.call('POST', `/api/v1/auth/${path}`, { token: member.token, body })

const login = (email: string, totp?: string) =>
  house.call('POST', '/api/v1/auth/login', { body: { email, password: PASSWORD, ...(totp ? { totp } : {}) } })

/** Switched on; the clock stands at the next step, since the code of this one is used. */
async function withFactor(email: string): Promise<{ member: Member; secret: string; codes: string[] }> {
  const member = await house.member(email)
  const { secret } = (await post(member, '2fa/setup')).json<{ secret: string }>()
  const answer = await post(member, '2fa/enable', { code: codeAt(secret, clock.now()) })
  assert.equal(answer.statusCode, 200, answer.body)
  clock.at += STEP_MS
  return { member, secret, codes: answer.json<{ recovery_codes: string[] }>().recovery_codes }
}

test('the codes are those of RFC 6238, appendix B, and one step before and after counts', () => {
  const secret = Buffer.from('12345678901234567890')
  assert.equal(totpStep(secret, '287082', 59_000), 1n)
  assert.equal(totpStep(secret, '287082', 89_000), 1n)
  assert.equal(totpStep(secret, '287082', 29_000), 1n)
  assert.equal(totpStep(secret, '287082', 90_000), undefined)
  assert.equal(totpStep(secret, '081804', 1_111_111_109_000), 37_037_036n)
  assert.equal(totpStep(secret, '28708', 59_000), undefined)
})

test('set up, switched on by a code, and from then on asked for', async () => {
  const member = await house.member('on@example.com')
  const elsewhere = (await login('on@example.com')).json<LoginBody>().access_token
  const setup = await post(member, '2fa/setup')
  assert.equal(setup.statusCode, 200)
  const { secret, otpauth_url, qr } = setup.json<{ secret: string; otpauth_url: string; qr: string }>()
  assert.match(secret, /^[A-Z2-7]{32}$/)
  assert.ok(otpauth_url.startsWith('otpauth://totp/Prime%20VPN:on%40example.com?'))
  assert.match(Buffer.from(qr.replace('data:image/svg+xml;base64,', ''), 'base64').toString(), /^<svg /)
  assert.equal((await login('on@example.com')).statusCode, 200, 'nothing is asked for before it is on')

  assert.equal((await post(member, '2fa/enable', { code: wrongCode(secret, clock.now()) })).statusCode, 401)
  const enabled = await post(member, '2fa/enable', { code: codeAt(secret, clock.now()) })
  assert.equal(enabled.statusCode, 200)
  assert.equal(new Set(enabled.json<{ recovery_codes: string[] }>().recovery_codes).size, 10)
  assert.equal((await post(member, '2fa/setup')).statusCode, 409)
  assert.equal((await house.call('GET', '/users/me', { token: elsewhere })).statusCode, 401, 'other sessions end')
  assert.equal((await house.call('GET', '/users/me', { token: member.token })).statusCode, 200)
  await house.mailed('on@example.com', 'Two-factor sign-in is on')

  const asked = await login('on@example.com')
  assert.deepEqual([asked.statusCode, asked.json<{ error: { code: string } }>().error.code], [401, 'TOTP_REQUIRED'])
  assert.equal(
    (await login('on@example.com', codeAt(secret, clock.now()))).statusCode,
    401,
    'the code of enable is dead',
  )
  clock.at += STEP_MS
  assert.equal((await login('on@example.com', codeAt(secret, clock.now()))).statusCode, 200)
  assert.equal((await login('on@example.com', codeAt(secret, clock.now()))).statusCode, 401, 'a code works once')
  assert.equal(
    (await login('on@example.com', codeAt(secret, clock.now() - STEP_MS))).statusCode,
    401,
    'older ones are dead',
  )
})

test('a wrong password tells nothing of the factor, and a right code does not help it', async () => {
  const { secret } = await withFactor('quiet@example.com')
  const body = { email: 'quiet@example.com', password: 'not the password' }
  for (const totp of [undefined, codeAt(secret, clock.now())]) {
    const answer = await house.call('POST', '/auth/login', { body: { ...body, ...(totp ? { totp } : {}) } })
    assert.equal(answer.json<{ error: { code: string } }>().error.code, 'UNAUTHENTICATED')
  }
  assert.equal((await login('quiet@example.com', codeAt(secret, clock.now()))).statusCode, 200)
})

test('of twenty with one code, and of twenty with one recovery code, one gets in', async () => {
  const { secret, codes } = await withFactor('race@example.com')
  for (const totp of [codeAt(secret, clock.now()), codes[0] ?? '']) {
    charged.clear()
    const answers = await Promise.all(Array.from({ length: 20 }, () => login('race@example.com', totp)))
    assert.equal(answers.filter(({ statusCode }) => statusCode === 200).length, 1)
  }
})

test('a recovery code works once however it is typed, and its owner hears of it', async () => {
  const { codes } = await withFactor('lost@example.com')
  const typed = ` ${(codes[3] ?? '').toLowerCase().replaceAll('-', ' ')}`
  assert.equal((await login('lost@example.com', typed)).statusCode, 200)
  assert.equal((await login('lost@example.com', codes[3])).statusCode, 401)
  await house.mailed('lost@example.com', 'A recovery code was used')
  const stored = await house.database.sql<{ hash: Buffer }[]>`select hash from recovery_codes`
  assert.ok(stored.every(({ hash }) => hash.length === 32))
})

test('a recovery code goes together with the mail that tells of it, or not at all', async (t) => {
  const { member, codes } = await withFactor('told@example.com')
  const { owner } = house.database
  await owner`create function refuse_jobs() returns trigger language plpgsql as 'begin raise exception ''no''; end'`
  t.after(() => owner`drop function refuse_jobs() cascade`)
  await owner`
    create trigger refuse_jobs before insert on graphile_worker._private_jobs for each row execute function refuse_jobs()`
  assert.equal((await login(member.email, codes[0])).statusCode, 500)
  await owner`drop trigger refuse_jobs on graphile_worker._private_jobs`
  assert.equal((await login(member.email, codes[0])).statusCode, 200)
  await house.mailed(member.email, 'A recovery code was used')
})

test('ten wrong codes in an hour are all there are, and the owner gets one mail', async () => {
  const { secret } = await withFactor('guess@example.com')
  charged.clear()
  const answers = await Promise.all(
    Array.from({ length: 15 }, () => login('guess@example.com', wrongCode(secret, clock.now()))),
  )
  assert.equal(answers.filter(({ statusCode }) => statusCode === 401).length, 10)
  assert.equal(answers.filter(({ statusCode }) => statusCode === 429).length, 5)
  assert.equal((await login('guess@example.com', codeAt(secret, clock.now()))).statusCode, 429)
  assert.equal((await house.mailed('guess@example.com', 'A sign-in failed at the second step')).length, 1)
})

test('a reset of the password does not pass by the factor', async () => {
  const { secret } = await withFactor('reset@example.com')
  await house.call('POST', '/auth/forgot-password', { body: { email: 'reset@example.com' } })
  const [mail] = await house.mailed('reset@example.com', 'Choose a new password')
  const token = /token=(\S+)$/m.exec(mail?.text ?? '')?.[1]
  // The address was never proven before: what was made meanwhile may be somebody else's, so prove it first.
  await house.database.sql`update users set is_verified = true where email = 'reset@example.com'`
  const password = 'another fine passphrase'
  assert.equal((await house.call('POST', '/auth/reset-password', { body: { token, password } })).statusCode, 204)
  const body = { email: 'reset@example.com', password }
  const answer = await house.call('POST', '/auth/login', { body })
  assert.equal(answer.json<{ error: { code: string } }>().error.code, 'TOTP_REQUIRED')
  const totp = codeAt(secret, clock.now())
  assert.equal((await house.call('POST', '/auth/login', { body: { ...body, totp } })).statusCode, 200)
})

test('the first proof of an address removes a factor made before it', async () => {
  await withFactor('squat@example.com')
  const [mail] = await house.mailed('squat@example.com', 'Confirm your e-mail address')
  const token = /token=(\S+)$/m.exec(mail?.text ?? '')?.[1]
  assert.equal((await house.call('POST', '/auth/verify-email', { body: { token } })).statusCode, 200)
  assert.equal((await login('squat@example.com')).statusCode, 200)
})

test('switching off and new recovery codes need the password and a code', async () => {
  const { member, secret, codes } = await withFactor('off@example.com')
  const next = (): string => {
    clock.at += STEP_MS
    return codeAt(secret, clock.now())
  }
  assert.equal((await post(member, '2fa/disable', { password: 'wrong', code: next() })).statusCode, 401)
  assert.equal((await post(member, '2fa/disable', { code: next() })).statusCode, 400)
  assert.equal(
    (await post(member, '2fa/disable', { password: PASSWORD, code: wrongCode(secret, clock.now()) })).statusCode,
    401,
  )
  const renewed = await post(member, '2fa/recovery-codes', { password: PASSWORD, code: next() })
  assert.equal(renewed.statusCode, 200)
  assert.equal((await login('off@example.com', codes[0])).statusCode, 401, 'the old codes are gone')
  const fresh = renewed.json<{ recovery_codes: string[] }>().recovery_codes[0] ?? ''
  assert.equal((await post(member, '2fa/disable', { password: PASSWORD, code: fresh })).statusCode, 204)
  assert.equal((await login('off@example.com')).statusCode, 200)
  assert.equal(
    (
      await house.database
        .sql`select from recovery_codes c join users u on u.id = c.user_id where u.email = 'off@example.com'`
    ).count,
    0,
  )
})

test('an old sign-in sets nothing up without the password', async () => {
  const member = await house.member('old@example.com')
  clock.at += 6 * 60_000
  assert.equal((await post(member, '2fa/setup')).statusCode, 400)
  assert.equal((await post(member, '2fa/setup', { password: 'wrong' })).statusCode, 401)
  assert.equal((await post(member, '2fa/setup', { password: PASSWORD })).statusCode, 200)
})
