import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { openHouse, PASSWORD, type LoginBody } from './testing/house.ts'

const house = await openHouse({ after })

test('an account is registered without tokens, signs in, and sees itself', async () => {
  const made = await house.call('POST', '/auth/register', {
    body: { email: '  Ada@Example.com ', password: PASSWORD, full_name: 'Ada L.' },
  })
  assert.equal(made.statusCode, 201)
  const user = made.json<Record<string, unknown>>()
  assert.deepEqual(
    Object.keys(user).toSorted(),
    'created_at email full_name id is_active is_superuser is_verified role'.split(' '),
  )
  assert.equal(user.email, 'Ada@Example.com')
  assert.equal(user.role, 'user')

  const signedIn = await house.login('ada@example.COM')
  assert.equal(signedIn.statusCode, 200)
  const body = signedIn.json<LoginBody>()
  assert.equal(body.token_type, 'bearer')
  assert.equal(body.expires_in, 1800)
  assert.deepEqual(body.user, {
    id: user.id,
    email: 'Ada@Example.com',
    role: 'user',
    subscription_status: 'active',
    subscription_expiry: null,
  })
  assert.equal('password_change_required' in body, false)

  const me = await house.call('GET', '/api/v1/users/me', { token: body.access_token })
  assert.equal(me.statusCode, 200)
  assert.deepEqual(me.json(), {
    ...user,
    subscription: {
      plan: 'free',
      plan_type: 'free',
      status: 'active',
      start_date: user.created_at,
      end_date: null,
      expiry_date: null,
      auto_renew: false,
    },
    devices: [],
  })
})

test('a known address registers with the same answer, an invented id, and nothing changed', async () => {
  const first = (await house.register('known@example.com')).json<Record<string, unknown>>()
  const again = await house.register('KNOWN@example.com', 'another fine passphrase')
  assert.equal(again.statusCode, 201)
  const second = again.json<Record<string, unknown>>()
  assert.deepEqual(Object.keys(second).toSorted(), Object.keys(first).toSorted())
  assert.notEqual(second.id, first.id)
  const { count } = await house.database.sql`select from users where lower(email) = 'known@example.com'`
  assert.equal(count, 1)
  assert.equal((await house.login('known@example.com')).statusCode, 200)
  assert.equal((await house.login('known@example.com', 'another fine passphrase')).statusCode, 401)
})

test('with any difference between the clocks id and time of the answer tell no known address from a new one', async (t) => {
  const HOUR = 3_600_000
  type Answer = { id: string; created_at: string }
  const made = ({ id }: Answer) => Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16)
  // Forwards only: ids of one process never go back in time.
  for (const shift of [0, HOUR, 2 * HOUR]) {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + shift })
    const email = `clock${shift}@example.com`
    const answers = [await house.register(email), await house.register(email.toUpperCase())]
    t.mock.timers.reset()
    for (const answer of answers.map((each) => each.json<Answer>())) {
      const apart = Date.parse(answer.created_at) - made(answer) + shift
      assert.ok(apart >= 0 && apart < 60_000, `${apart} ms with clocks ${shift} ms apart`)
    }
  }
})

test('an unknown address, a wrong password and a disabled account are refused with one answer', async () => {
  await house.register('off@example.com')
  await house.database.sql`update users set is_active = false where email = 'off@example.com'`
  const answers = await Promise.all([
    house.login('nobody@example.com'),
    house.login('ada@example.com', 'not the password'),
    house.login('off@example.com'),
  ])
  const bodies = answers.map((answer) => {
    const { error } = answer.json<{ error: { code: string; message: string } }>()
    return [answer.statusCode, error.code, error.message]
  })
  for (const body of bodies) assert.deepEqual(body, [401, 'UNAUTHENTICATED', 'The e-mail or the password is wrong.'])
})

test('of twenty who register one address at once one gets it, and all hear 201', async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, () => house.register('race@example.com')))
  assert.ok(answers.every(({ statusCode }) => statusCode === 201))
  const ids = new Set(answers.map((answer) => answer.json<{ id: string }>().id))
  assert.equal(ids.size, 20)
  const rows = await house.database.sql<{ id: string }[]>`select id from users where email = 'race@example.com'`
  assert.equal(rows.length, 1)
  assert.ok(ids.has(rows[0]?.id ?? ''))
})

test('fields that are not of the call, wrong types and broken text are refused, never a 500', async () => {
  const good = { email: 'field@example.com', password: PASSWORD }
  const bodies: unknown[] = [
    { ...good, role: 'admin' },
    { ...good, is_superuser: true },
    { ...good, plan: 'premium_yearly' },
    { ...good, constructor: {} },
    { ...good, email: ['field@example.com'] },
    { ...good, email: { address: 'field@example.com' } },
    { ...good, password: 12345678 },
    { ...good, password: null },
    { ...good, full_name: 'x\ny' },
    { ...good, full_name: '' },
    { email: good.email },
    [],
    null,
    'text',
  ]
  for (const body of bodies) {
    const answer = await house.call('POST', '/auth/register', {
      body: JSON.stringify(body),
      headers: { 'content-type': 'application/json' },
    })
    assert.equal(answer.statusCode, 400, JSON.stringify(body))
  }
  for (const raw of [
    '{"email":"a@b.example","password":"x\\u0000yyyyyyyyy"}',
    '{"__proto__":{},"email":"a@b.example"}',
    '{',
    '\u{feff}{}',
    '{"email":"\\ud800@b.example"}',
  ]) {
    const answer = await house.call('POST', '/auth/login', {
      body: raw,
      headers: { 'content-type': 'application/json' },
    })
    assert.equal(answer.statusCode, 400, raw)
  }
  const huge = await house.call('POST', '/auth/login', {
    body: { email: 'a@b.example', password: 'x'.repeat(1_000_000) },
  })
  assert.equal(huge.statusCode, 413)
})

test('a Unicode password is the same in every normal form, exact in case and blanks, and whole', async () => {
  await house.register('uni@example.com', 'pa\u0301ssword Ångström '.normalize('NFC'))
  assert.equal((await house.login('uni@example.com', 'pa\u0301ssword A\u030angstro\u0308m ')).statusCode, 200)
  assert.equal((await house.login('uni@example.com', 'pa\u0301ssword A\u030angstro\u0308m')).statusCode, 401)
  const long = `${'long '.repeat(30)}end one`
  await house.register('long@example.com', long)
  assert.equal((await house.login('long@example.com', `${'long '.repeat(30)}end two`)).statusCode, 401)
  assert.equal((await house.login('long@example.com', long)).statusCode, 200)
})

test('the signing key is published and the answer carries no cached secret', async () => {
  const jwks = await house.call('GET', '/oauth/jwks')
  const { keys } = jwks.json<{ keys: Record<string, string>[] }>()
  assert.deepEqual(Object.keys(keys[0] ?? {}).toSorted(), ['alg', 'crv', 'kid', 'kty', 'use', 'x'])
  assert.equal((await house.login('ada@example.com')).headers['cache-control'], 'no-store')
})
