import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { openHouse, type LoginBody } from '../testing/house.ts'

const house = await openHouse({ after })
const { sql } = house.database

const refresh = (refresh_token: string) => house.call('POST', '/auth/refresh', { body: { refresh_token } })
const meStatus = async (token: string) => (await house.call('GET', '/users/me', { token })).statusCode
const pairOf = async (refreshToken: string) => (await refresh(refreshToken)).json<LoginBody>()
const agedBy = (seconds: number) =>
  sql`update refresh_tokens set used_at = used_at - make_interval(secs => ${seconds}) where used_at is not null`

test('a refresh gives a new pair of the same session and uses the old token up', async () => {
  const ada = await house.member('ada@example.com')
  const answer = await refresh(ada.refresh)
  assert.equal(answer.statusCode, 200)
  const pair = answer.json<LoginBody>()
  assert.deepEqual(Object.keys(pair).toSorted(), ['access_token', 'expires_in', 'refresh_token', 'token_type'])
  assert.notEqual(pair.refresh_token, ada.refresh)
  assert.equal(await meStatus(pair.access_token), 200)
  assert.equal(
    (await house.call('GET', '/auth/sessions', { token: pair.access_token })).json<{ data: unknown[] }>().data.length,
    1,
  )
})

test('a lost answer is fetched again within ten seconds, unchanged', async () => {
  const ada = await house.member('lost@example.com')
  const first = await pairOf(ada.refresh)
  assert.deepEqual(await pairOf(ada.refresh), first)
  assert.equal((await refresh(first.refresh_token)).statusCode, 200)
})

test('after ten seconds a used token is a theft: 401, and the whole session ends', async () => {
  const ada = await house.member('late@example.com')
  const first = await pairOf(ada.refresh)
  await agedBy(11)
  assert.equal((await refresh(ada.refresh)).statusCode, 401)
  assert.equal((await refresh(first.refresh_token)).statusCode, 401)
  assert.equal(await meStatus(first.access_token), 401)
})

test('once its successor was used a token is a theft even within the ten seconds', async () => {
  const ada = await house.member('soon@example.com')
  const first = await pairOf(ada.refresh)
  const second = await pairOf(first.refresh_token)
  assert.equal((await refresh(ada.refresh)).statusCode, 401)
  assert.equal((await refresh(second.refresh_token)).statusCode, 401)
  assert.equal(await meStatus(second.access_token), 401)
})

test('two hundred who replay one token at once leave one line of tokens, never two', async () => {
  const ada = await house.member('crowd@example.com')
  // With every connection of the pool open they really meet.
  await Promise.all(Array.from({ length: 10 }, () => sql`select pg_sleep(0.1)`))
  const answers = await Promise.all(Array.from({ length: 200 }, () => refresh(ada.refresh)))
  const tokens = new Set(answers.filter((a) => a.statusCode === 200).map((a) => a.json<LoginBody>().refresh_token))
  assert.ok(tokens.size <= 1, `${tokens.size} lines`)
  const unused = await sql`
    select from refresh_tokens r join sessions s on s.id = r.session_id
     where s.user_id = ${ada.id} and s.revoked_at is null and r.used_at is null`
  assert.equal(unused.count, tokens.size)
})

test('a cut, extended, foreign or malformed refresh token is refused and harms no session', async () => {
  const ada = await house.member('text@example.com')
  for (let n = 1; n <= 8; n++) {
    assert.equal((await refresh(ada.refresh.slice(0, -n))).statusCode, 401)
    assert.equal((await refresh(ada.refresh + 'A'.repeat(n))).statusCode, 401)
  }
  for (const text of [
    ada.refresh.toUpperCase(),
    ` ${ada.refresh}`,
    ada.token.slice(0, 500),
    'prt_',
    "prt_' or true --",
  ])
    assert.equal((await refresh(text)).statusCode, 401, text)
  assert.equal((await house.call('GET', '/users/me', { token: ada.refresh })).statusCode, 401)
  assert.equal((await refresh(ada.refresh)).statusCode, 200)
})

test('a token of another family is refused here and its session goes on', async () => {
  const ada = await house.member('family@example.com')
  await sql`update sessions set kind = 'oauth' where user_id = ${ada.id}`
  assert.equal((await refresh(ada.refresh)).statusCode, 401)
  await sql`update sessions set kind = 'token' where user_id = ${ada.id}`
  assert.equal((await refresh(ada.refresh)).statusCode, 200)
})

test('a session ends when it was idle too long, at its absolute end, and with its user', async () => {
  const ends = [
    (id: string) => sql`update sessions set idle_expires_at = clock_timestamp() where user_id = ${id}`,
    (id: string) => sql`update sessions set expires_at = clock_timestamp() where user_id = ${id}`,
    (id: string) => sql`update users set is_active = false where id = ${id}`,
    (id: string) => sql`delete from users where id = ${id}`,
  ]
  for (const [n, end] of ends.entries()) {
    const ada = await house.member(`end${n}@example.com`)
    assert.equal(await meStatus(ada.token), 200)
    await end(ada.id)
    assert.equal(await meStatus(ada.token), 401)
    assert.equal((await refresh(ada.refresh)).statusCode, 401)
  }
})

test('refreshing prolongs the idle time but never the absolute end; staff have an hour and a day', async () => {
  const [ada, eve] = [await house.member('life@example.com'), await house.staff('staff@example.com', 'support')]
  await sql`update sessions set idle_expires_at = clock_timestamp() + interval '1 minute'`
  await sql`update sessions set expires_at = clock_timestamp() + interval '2 days' where user_id = ${ada.id}`
  await sql`update sessions set must_change_password = false where user_id = ${eve.id}`
  await Promise.all([refresh(ada.refresh), refresh(eve.refresh)])
  const lives = await sql<{ user_id: string; idle: number; absolute: number }[]>`
    select user_id, extract(epoch from idle_expires_at - clock_timestamp())::float8 as idle,
           extract(epoch from expires_at - created_at)::float8 as absolute from sessions
     where user_id in (${ada.id}, ${eve.id})`
  const of = (id: string) => lives.find(({ user_id }) => user_id === id)
  assert.ok(Math.abs((of(ada.id)?.idle ?? 0) - 2 * 86_400) < 10)
  assert.ok(Math.abs((of(eve.id)?.idle ?? 0) - 3_600) < 10)
  assert.ok(Math.abs((of(eve.id)?.absolute ?? 0) - 86_400) < 10)
})

test('no token that was handed out lies readable in the database', async () => {
  const ada = await house.member('dump@example.com')
  const first = await pairOf(ada.refresh)
  const rows = await house.database.owner`
    select row_to_json(r)::text as text from refresh_tokens r union all select row_to_json(s)::text from sessions s`
  const dump = rows.map(({ text }) => String(text)).join('\n')
  const handedOut = [ada.refresh, ada.token, first.refresh_token, first.access_token]
  for (const secret of handedOut) {
    assert.equal(dump.includes(secret), false)
    assert.equal(dump.includes(Buffer.from(secret).toString('hex')), false)
  }
})

test('answers are found by an index that holds no other tokens, however often a session was refreshed', async () => {
  const ada = await house.member('often@example.com')
  await refresh(ada.refresh)
  await sql`
    insert into refresh_tokens (hash, session_id, used_at)
    select sha256(convert_to('often ' || n, 'utf8')), s.id, clock_timestamp()
      from generate_series(1, 3000) n, (select id from sessions where user_id = ${ada.id} limit 1) s`
  await house.database.owner`analyze refresh_tokens`
  const [session] = await sql<{ id: string }[]>`select id from sessions where user_id = ${ada.id} limit 1`
  for (const [what, plan] of [
    [
      'a rotation',
      sql`update refresh_tokens set answer = null where session_id = ${session?.id ?? ''} and answer is not null`,
    ],
    [
      'the sweep',
      sql`update refresh_tokens set answer = null where answer is not null and used_at < clock_timestamp()`,
    ],
  ] as const) {
    const lines = await sql<{ 'QUERY PLAN': string }[]>`explain ${plan}`
    assert.match(lines.map((line) => line['QUERY PLAN']).join('\n'), /refresh_tokens_with_answer/, what)
  }
})
