import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { hash as bcrypt } from '@node-rs/bcrypt'
import { openHouse, PASSWORD } from '../testing/house.ts'
import { whileLocked } from '../testing/while-locked.ts'
import { createPasswords } from './hash.ts'

const house = await openHouse({ after })

async function imported(email: string, stored: string): Promise<void> {
  await house.register(email)
  await house.database.sql`update users set hashed_password = ${stored}, is_verified = true where email = ${email}`
}
const storedOf = async (email: string): Promise<string> => {
  const [row] = await house.database.sql<{ hashed_password: string }[]>`
    select hashed_password from users where email = ${email}`
  return row?.hashed_password ?? ''
}

test('an imported bcrypt hash lets its owner in once and is replaced by argon2id', async () => {
  for (const version of ['2a', '2b', '2y'] as const) {
    const email = `v${version}@example.com`
    await imported(email, await bcrypt(PASSWORD, { cost: 5, version }))
    assert.equal((await house.login(email, 'not the password')).statusCode, 401)
    assert.match(await storedOf(email), /^\$2/)
    assert.equal((await house.login(email)).statusCode, 200)
    assert.match(await storedOf(email), /^\$argon2id\$/)
    assert.equal((await house.login(email)).statusCode, 200)
  }
})

test('a hash made of more than 72 bytes counts whole once it is replaced', async () => {
  const long = `${'x'.repeat(80)} the end`
  await imported('long@example.com', await bcrypt(long, { cost: 4 }))
  assert.equal((await house.login('long@example.com', long)).statusCode, 200)
  assert.equal((await house.login('long@example.com', `${'x'.repeat(80)} another`)).statusCode, 401)
})

test('a hash of what was typed matches, whatever its normal form', async () => {
  const typed = 'pa\u0301ssword ①②③'
  await imported('typed@example.com', await bcrypt(typed, { cost: 4 }))
  assert.equal((await house.login('typed@example.com', typed)).statusCode, 200)
  assert.equal((await house.login('typed@example.com', typed.normalize('NFKC'))).statusCode, 200)
})

test('broken and absurdly costly hashes match nothing, quickly', async () => {
  const passwords = await createPasswords()
  const good = await bcrypt(PASSWORD, { cost: 4 })
  for (const bad of [good.replace('$04$', '$31$'), good.slice(0, -4), '$2b$', '$2b$99$x']) {
    const begun = performance.now()
    assert.equal(await passwords.matches(bad, PASSWORD), false)
    assert.ok(performance.now() - begun < 400, bad)
  }
})

test('where slow imported hashes are about, an unknown account is refused no faster', async () => {
  const passwords = await createPasswords()
  const stored = await bcrypt(PASSWORD, { cost: 11 })
  const timed = async (hash: string | null): Promise<number> => {
    const begun = performance.now()
    assert.equal(await passwords.matches(hash, 'not the password'), false)
    return performance.now() - begun
  }
  const slow = await timed(stored)
  assert.ok((await timed(null)) >= Math.min(slow, 500) * 0.8)
})

test('of several first sign-ins at once each gets in, and none counts as a failure', async () => {
  await imported('crowd@example.com', await bcrypt(PASSWORD, { cost: 4 }))
  const [user] = await house.database.sql<{ id: string }[]>`select id from users where email = 'crowd@example.com'`
  const login = () => house.login('crowd@example.com')
  const answers = await whileLocked(house, user?.id ?? '', async () => undefined, login, login, login)
  assert.deepEqual(
    answers.map(({ statusCode }) => statusCode),
    [200, 200, 200],
  )
})

test('a first sign-in that overlaps a change of the password opens nothing', async () => {
  await imported('changed@example.com', await bcrypt(PASSWORD, { cost: 4 }))
  const [user] = await house.database.sql<{ id: string }[]>`select id from users where email = 'changed@example.com'`
  const other = await bcrypt('another passphrase', { cost: 4 })
  const [answer] = await whileLocked(
    house,
    user?.id ?? '',
    (tx) => tx`update users set hashed_password = ${other} where id = ${user?.id ?? ''}`,
    () => house.login('changed@example.com'),
  )
  assert.equal(answer?.statusCode, 401)
  assert.equal(await storedOf('changed@example.com'), other)
})
