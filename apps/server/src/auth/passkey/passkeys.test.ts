import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { parseConfig } from '../../platform/config/index.ts'
import { createApp } from '../../platform/http/index.ts'
import { createLog } from '../../platform/log.ts'
import { codeAt } from '../testing/authenticator.ts'
import { begin, library, registerApps } from '../oauth/testing/apps.ts'
import { Browser } from '../oauth/testing/browser.ts'
import { openHouse, PASSWORD, PUBLIC_URL, type House, type LoginBody, type Member } from '../testing/house.ts'
import { PasskeyDevice, type Circumstances } from '../testing/passkey-device.ts'
import { whileLocked } from '../testing/while-locked.ts'

const clock = { at: Date.now(), now: () => clock.at }
const house = await openHouse({ after }, { jobs: true, clock })
const at = (more: Circumstances = {}) => ({ origin: PUBLIC_URL, ...more })

type CreateOptions = { challenge: string; rp: { id: string }; user: { id: string } }
const post = (path: string, body: object, token?: string, where: House = house) =>
  where.call('POST', `/api/v1/auth/passkeys/${path}`, { body, ...(token ? { token } : {}) })
const creation = async (member: Member) => (await post('register/options', {}, member.token)).json<CreateOptions>()
const request = async () => (await post('login/options', {})).json<{ challenge: string; rpId: string }>()
const signIn = (credential: object, query = '') => post(`login/verify${query}`, { credential })

async function withPasskey(
  email: string,
  device = new PasskeyDevice(),
): Promise<{ member: Member; device: PasskeyDevice }> {
  const member = await house.member(email)
  const credential = device.create(await creation(member), at())
  const answer = await post('register/verify', { credential, name: 'My phone' }, member.token)
  assert.equal(answer.statusCode, 201, answer.body)
  return { member, device }
}

test('a passkey is added, listed, signs in by token and by cookie, and is removed', async () => {
  for (const alg of ['ES256', 'EdDSA'] as const) {
    const { member, device } = await withPasskey(`${alg.toLowerCase()}@example.com`, new PasskeyDevice(alg))
    await house.mailed(member.email, 'A passkey was added')
    const list = await house.call('GET', '/api/v1/auth/passkeys', { token: member.token })
    const [passkey] = list.json<{ data: { id: string; name: string }[] }>().data
    assert.equal(passkey?.name, 'My phone')

    const answer = await signIn(device.get(await request(), at()))
    assert.equal(answer.statusCode, 200, answer.body)
    assert.equal(answer.json<LoginBody>().user.id, member.id)
    const cookie = await signIn(device.get(await request(), at()), '?session=cookie')
    assert.equal(cookie.statusCode, 200)
    assert.equal('access_token' in cookie.json<object>(), false)
    assert.match(String(cookie.headers['set-cookie']), /^prime_session=pvc_/)

    const url = `/api/v1/auth/passkeys/${passkey?.id}`
    const stranger = await house.member(`stranger.${member.email}`)
    assert.equal((await house.call('DELETE', url, { token: stranger.token })).statusCode, 404)
    assert.equal((await house.call('DELETE', url, { token: member.token })).statusCode, 204)
    assert.equal((await signIn(device.get(await request(), at()))).statusCode, 401)
  }
})

test('the options name no passkey and no account, and ask for a verified user', async () => {
  const answer = await post('login/options', {})
  assert.deepEqual(Object.keys(answer.json<object>()).toSorted(), ['challenge', 'rpId', 'timeout', 'userVerification'])
  const member = await house.member('options@example.com')
  const options = (await post('register/options', {}, member.token)).json<{
    pubKeyCredParams: { alg: number }[]
    authenticatorSelection: { userVerification: string }
  }>()
  assert.deepEqual(
    options.pubKeyCredParams.map(({ alg }) => alg),
    [-8, -7, -257],
  )
  assert.equal(options.authenticatorSelection.userVerification, 'required')
})

test('an answer from another origin, to another name, challenge or purpose, or without its user, is refused', async () => {
  const { member, device } = await withPasskey('strict@example.com')
  const register = await creation(member)
  for (const more of [
    { origin: 'https://evil.example' },
    { rpId: 'evil.example' },
    { verified: false },
    { challenge: 'AAAA' },
    { challenge: register.challenge },
  ]) {
    const answer = await signIn(device.get(await request(), at(more)))
    assert.equal(answer.statusCode, 401, JSON.stringify(more))
  }
  const login = await request()
  for (const more of [{ origin: 'https://evil.example' }, { verified: false }, { challenge: login.challenge }]) {
    const credential = new PasskeyDevice().create(await creation(member), at(more))
    assert.equal((await post('register/verify', { credential }, member.token)).statusCode, 400, JSON.stringify(more))
  }
  const other = await house.member('other@example.com')
  const foreign = new PasskeyDevice().create(await creation(other), at())
  assert.equal((await post('register/verify', { credential: foreign }, member.token)).statusCode, 400)
})

test('a challenge works once, also of twenty at once, and for five minutes', async () => {
  const { device } = await withPasskey('once@example.com')
  const options = await request()
  const answers = await Promise.all(Array.from({ length: 20 }, () => signIn(device.get(options, at({ count: 5 })))))
  assert.equal(answers.filter(({ statusCode }) => statusCode === 200).length, 1)
  const late = await request()
  clock.at += 5 * 60_000 + 1
  assert.equal((await signIn(device.get(late, at()))).statusCode, 401)
})

test('a repeat with the same key shows the passkey that was added, also where the first answer was never made', async () => {
  const member = await house.member('again@example.com')
  const credential = new PasskeyDevice().create(await creation(member), at())
  const headers = { 'idempotency-key': 'passkey-0123456789' }
  const add = () =>
    house.call('POST', '/api/v1/auth/passkeys/register/verify', { token: member.token, headers, body: { credential } })
  const first = await add()
  assert.equal(first.statusCode, 201, first.body)
  const second = await add()
  assert.equal(second.headers['idempotent-replayed'], 'true')
  await house.database.sql`
    update idempotency_marks set status = null, answer = null, claimed_at = clock_timestamp() - interval '31 seconds'`
  const third = await add()
  for (const { statusCode, body } of [second, third]) assert.deepEqual([statusCode, body], [201, first.body])
})

test('a passkey whose count goes back is a copy', async () => {
  const { device } = await withPasskey('copy@example.com')
  assert.equal((await signIn(device.get(await request(), at({ count: 7 })))).statusCode, 200)
  for (const count of [7, 3]) assert.equal((await signIn(device.get(await request(), at({ count })))).statusCode, 401)
})

test('asking for a challenge spends no sign-in: that is for the answer to it', async () => {
  const rules = new Map<string, unknown>()
  const app = await createApp({
    config: parseConfig({ NODE_ENV: 'test' }),
    log: createLog('silent'),
    authenticate: house.auth.authenticate,
  })
  app.addHook('onRoute', ({ url, config }) => void rules.set(url, config?.rule))
  house.auth.routes(app)
  await app.ready()
  after(() => app.close())
  assert.equal(rules.get('/api/v1/auth/passkeys/login/options'), undefined)
  assert.equal(rules.get('/api/v1/auth/passkeys/login/verify'), 'AUTH_LOGIN')
})

test('another account cannot take a passkey that is there, and a disabled one does not get in by its own', async () => {
  const { member, device } = await withPasskey('owner@example.com')
  const thief = await house.member('thief@example.com')
  const credential = device.create(await creation(thief), at())
  assert.equal((await post('register/verify', { credential }, thief.token)).statusCode, 409)
  await house.database.sql`update users set is_active = false where id = ${member.id}`
  device.create(
    {
      challenge: '',
      rp: { id: 'localhost' },
      user: { id: Buffer.from(member.id.replaceAll('-', ''), 'hex').toString('base64url') },
    },
    at(),
  )
  assert.equal((await signIn(device.get(await request(), at()))).statusCode, 401)
})

/** Staff of a production house, with a passkey for its second factor. */
async function strictStaff(strict: House, email: string): Promise<{ admin: Member; device: PasskeyDevice }> {
  const admin = await strict.staff(email, 'admin')
  const device = new PasskeyDevice()
  const options = (await post('register/options', {}, admin.token, strict)).json<CreateOptions>()
  const added = await post('register/verify', { credential: device.create(options, at()) }, admin.token, strict)
  assert.equal(added.statusCode, 201, added.body)
  return { admin, device }
}
const PRODUCTION = { env: { NODE_ENV: 'production', MAIL: 'off' } }

test('a passkey counts as the second factor of staff, and stands for the code of an app', async () => {
  const strict = await openHouse({ after }, PRODUCTION)
  const bare = await strict.staff('bare@example.com', 'admin')
  assert.equal((await strict.call('GET', '/api/v1/users', { token: bare.token })).statusCode, 403)
  const { admin, device } = await strictStaff(strict, 'admin@example.com')
  assert.equal((await strict.call('GET', '/api/v1/users', { token: admin.token })).statusCode, 200)

  const { secret } = (await strict.call('POST', '/auth/2fa/setup', { token: admin.token, body: {} })).json<{
    secret: string
  }>()
  await strict.call('POST', '/auth/2fa/enable', { token: admin.token, body: { code: codeAt(secret) } })
  const asked = (await post('login/options', {}, undefined, strict)).json<{ challenge: string; rpId: string }>()
  assert.equal((await post('login/verify', { credential: device.get(asked, at()) }, undefined, strict)).statusCode, 200)
})

test('in production the password alone does not let staff in that has a passkey; the code of an app beside it does', async () => {
  const strict = await openHouse({ after }, PRODUCTION)
  const { admin, device } = await strictStaff(strict, 'admin@example.com')
  const login = (query = '', totp?: string) =>
    strict.call('POST', `/api/v1/auth/login${query}`, {
      body: { email: admin.email, password: PASSWORD, ...(totp ? { totp } : {}) },
    })
  for (const query of ['', '?session=cookie']) {
    const refused = await login(query)
    assert.equal(refused.statusCode, 403, refused.body)
    assert.match(refused.body, /passkey/)
  }
  assert.equal(
    (await strict.login(admin.email, 'not the password')).statusCode,
    401,
    'who does not know it hears nothing',
  )

  await registerApps(strict)
  const browser = new Browser(strict)
  const page = await browser.go((await begin(await library(strict))).url)
  const asked = await browser.submit(page, '/login', { email: admin.email, password: PASSWORD })
  assert.equal(asked.status, 403)
  assert.match(asked.text, /Sign in by your passkey/)

  const challenge = (await post('login/options', {}, undefined, strict)).json<{ challenge: string; rpId: string }>()
  const credential = device.get(challenge, at())
  assert.equal((await post('login/verify', { credential }, undefined, strict)).statusCode, 200)
  const setup = await strict.call('POST', '/auth/2fa/setup', { token: admin.token, body: {} })
  const { secret } = setup.json<{ secret: string }>()
  await strict.call('POST', '/auth/2fa/enable', { token: admin.token, body: { code: codeAt(secret) } })
  assert.equal((await login('', codeAt(secret, Date.now() + 30_000))).statusCode, 200)
})

test('a sign-in by password that overlaps the adding of the passkey of staff opens nothing', async () => {
  const strict = await openHouse({ after }, PRODUCTION)
  const admin = await strict.staff('admin@example.com', 'admin')
  const [answer] = await whileLocked(
    strict,
    admin.id,
    (tx) =>
      tx`insert into passkeys (id, user_id, credential_id, public_key, name)
         values (gen_random_uuid(), ${admin.id}, 'x'::bytea, 'x'::bytea, 'x')`,
    () => strict.login(admin.email),
  )
  assert.equal(answer?.statusCode, 401)
})

test('a passkey of a customer leaves the password what it is; staff that lost theirs gets in by way of that role', async () => {
  const strict = await openHouse({ after }, PRODUCTION)
  const { admin } = await strictStaff(strict, 'lost@example.com')
  const root = await strictStaff(strict, 'root@example.com')
  await strict.database.sql`update users set role = 'super_admin' where id = ${root.admin.id}`
  const give = (role: string) =>
    strict.call('PUT', `/api/v1/admin/users/${admin.id}/role`, { token: root.admin.token, body: { role } })
  assert.equal((await give('user')).statusCode, 200)
  const signedIn = await strict.login(admin.email)
  assert.equal(signedIn.statusCode, 200)
  const token = signedIn.json<LoginBody>().access_token
  const list = await strict.call('GET', '/api/v1/auth/passkeys', { token })
  const [passkey] = list.json<{ data: { id: string }[] }>().data
  const removed = await strict.call('DELETE', `/api/v1/auth/passkeys/${passkey?.id}`, { token, body: {} })
  assert.equal(removed.statusCode, 204)
  assert.equal((await give('admin')).statusCode, 200)
  const again = await strict.login(admin.email)
  assert.equal(again.json<{ factor_setup_required?: boolean }>().factor_setup_required, true)
})
