import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { endAccess, type EndReason } from '../accounts/index.ts'
import type { Tx } from '../platform/db/index.ts'
import { codeAt } from './testing/authenticator.ts'
import { openHouse, PUBLIC_URL, type Member } from './testing/house.ts'
import { PasskeyDevice } from './testing/passkey-device.ts'
import { whileLocked } from './testing/while-locked.ts'

const house = await openHouse({ after })
const { sql } = house.database
const at = { origin: PUBLIC_URL }

const post = (path: string, body: object, token?: string) =>
  house.call('POST', `/api/v1${path}`, { body, ...(token ? { token } : {}) })
const ending = (member: Member, why: EndReason) => (tx: Tx) => endAccess(tx, house.ends, member.id, why)
const countOf = async (table: string, { id }: Member): Promise<number> =>
  (await sql`select from ${sql(table)} where user_id = ${id}`).length
const tokenWish = (scope: string) => ({
  name: 'x',
  scopes: [scope],
  expires_at: new Date(Date.now() + 86_400_000).toISOString(),
})

async function withPasskey(email: string) {
  const member = await house.member(email)
  const device = new PasskeyDevice()
  const options = await post('/auth/passkeys/register/options', {}, member.token)
  const added = await post('/auth/passkeys/register/verify', { credential: device.create(options.json(), at) }, member.token) // prettier-ignore
  assert.equal(added.statusCode, 201)
  return { member, device }
}

test('a sign-in by password alone that overlaps the switching on of a factor opens nothing', async () => {
  const member = await house.member('on@example.com')
  const [answer] = await whileLocked(
    house,
    member.id,
    (tx) =>
      tx`insert into totp_factors (user_id, sealed, enabled_at) values (${member.id}, 'x'::bytea, clock_timestamp())`,
    () => house.login(member.email),
  )
  assert.equal(answer?.statusCode, 401)
  assert.equal(await countOf('sessions', member), 1, 'the one of before')
})

test('a sign-in that overlaps a change of role opens no session with the lifetimes of the old one', async () => {
  const member = await house.member('raised@example.com')
  const [answer] = await whileLocked(
    house,
    member.id,
    (tx) => tx`update users set role = 'admin' where id = ${member.id}`,
    () => house.login(member.email),
  )
  assert.equal(answer?.statusCode, 401)
})

test('a sign-in by a passkey that is removed meanwhile opens nothing', async () => {
  const { member, device } = await withPasskey('removed@example.com')
  const asked = (await post('/auth/passkeys/login/options', {})).json<{ challenge: string; rpId: string }>()
  const [answer] = await whileLocked(
    house,
    member.id,
    (tx) => tx`delete from passkeys where user_id = ${member.id}`,
    () => post('/auth/passkeys/login/verify', { credential: device.get(asked, at) }),
  )
  assert.equal(answer?.statusCode, 401)
})

test('an API token that is made while a reset or a change of role ends its session is not made', async () => {
  for (const why of ['password_reset', 'role_changed', 'deactivated'] as const) {
    const member = await house.member(`${why}@example.com`)
    const [answer] = await whileLocked(house, member.id, ending(member, why), () =>
      post('/users/me/api-tokens', tokenWish('account'), member.token),
    )
    assert.equal(answer?.statusCode, 401, why)
    assert.equal(await countOf('api_tokens', member), 0, why)
  }
})

test('a passkey or a factor that is set up while the first proof of an address ends its session does not stay', async () => {
  const member = await house.member('squat@example.com')
  const options = await post('/auth/passkeys/register/options', {}, member.token)
  const credential = new PasskeyDevice().create(options.json(), at)
  const { secret } = (await post('/auth/2fa/setup', {}, member.token)).json<{ secret: string }>()
  const answers = await whileLocked(
    house,
    member.id,
    // The factor that waits stays, so that only the end of the session is left to refuse `enable`.
    (tx) => tx`update sessions set revoked_at = clock_timestamp() where user_id = ${member.id}`,
    () => post('/auth/passkeys/register/verify', { credential }, member.token),
    () => post('/auth/2fa/enable', { code: codeAt(secret) }, member.token),
    () => post('/auth/2fa/setup', {}, member.token),
  )
  assert.deepEqual(
    answers.map(({ statusCode }) => statusCode),
    [401, 401, 401],
  )
  assert.equal(await countOf('passkeys', member), 0)
})

test('factors and passkeys of a session that ends meanwhile are not taken off', async () => {
  const { member } = await withPasskey('keeps@example.com')
  const [passkey] = await sql<{ id: string }[]>`select id from passkeys where user_id = ${member.id}`
  const [answer] = await whileLocked(house, member.id, ending(member, 'password_reset'), () =>
    house.call('DELETE', `/api/v1/auth/passkeys/${passkey?.id}`, { token: member.token, body: {} }),
  )
  assert.equal(answer?.statusCode, 401)
  assert.equal(await countOf('passkeys', member), 1)
})
