import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { decodeProtectedHeader } from 'jose'
import * as client from 'openid-client'
import { parseConfig } from '../../platform/config/index.ts'
import { createApp } from '../../platform/http/index.ts'
import { memoryKv } from '../../platform/kv/index.ts'
import { createLog } from '../../platform/log.ts'
import { newId } from '../../platform/ids.ts'
import { createMailer } from '../../platform/mail/index.ts'
import { throwawaySecrets } from '../../platform/secrets.ts'
import { defer, freshDatabase } from '../../platform/testing/index.ts'
import { createAuth } from '../create.ts'
import { codeAt, wrongCode } from '../testing/authenticator.ts'
import { openHouse, PASSWORD, PUBLIC_URL, type House } from '../testing/house.ts'
import { allow, authorize, begin, library, NATIVE, REDIRECT, registerApps, signIn } from './testing/apps.ts'
import { Browser } from './testing/browser.ts'

const givePasskey = ({ database }: House, userId: string) => database.sql`
  insert into passkeys (id, user_id, credential_id, public_key, name)
  values (${newId()}, ${userId}, ${randomBytes(16)}, ${randomBytes(32)}, 'key')`

test('a second factor is asked for here as everywhere, and a code works once', async (t) => {
  const clock = { at: Date.now(), now: () => clock.at }
  const house = await openHouse(t, { clock })
  await registerApps(house)
  const { token } = await house.member('ada@example.com')
  const call = (path: string, body: object) => house.call('POST', `/api/v1/auth/2fa/${path}`, { token, body })
  const { secret } = (await call('setup', {})).json<{ secret: string }>()
  assert.equal((await call('enable', { code: codeAt(secret, clock.at) })).statusCode, 200)
  clock.at += 30_000
  const config = await library(house)
  const browser = new Browser(house)
  const page = await browser.go((await begin(config)).url)
  const attempt = (totp: string) =>
    browser.submit(page, '/login', { email: 'ada@example.com', password: PASSWORD, totp })
  assert.match((await attempt('')).text, /role="alert">Send the code/)
  assert.equal((await attempt(wrongCode(secret, clock.at))).status, 401)
  const code = codeAt(secret, clock.at)
  const asked = await attempt(code)
  assert.match(asked.text, /<h1>Allow/)
  assert.ok((await allow(browser, asked)).url.startsWith(REDIRECT))
  const other = new Browser(house)
  const again = await other.submit(await other.go((await begin(config)).url), '/login', {
    email: 'ada@example.com',
    password: PASSWORD,
    totp: code,
  })
  assert.equal(again.status, 401)
})

test('an account number signs in where there are such accounts', async (t) => {
  const house = await openHouse(t, { env: { ANONYMOUS_ACCOUNTS: 'true' } })
  await registerApps(house)
  const made = await house.call('POST', '/api/v1/auth/register-anonymous', { body: {} })
  const { account_number } = made.json<{ account_number: string }>()
  const browser = new Browser(house)
  const page = await browser.go((await begin(await library(house))).url)
  const wrong = await browser.submit(page, '/login', { account_number: account_number.slice(1) })
  assert.equal(wrong.status, 401)
  const back = await allow(browser, await browser.submit(page, '/login', { account_number }))
  assert.ok(back.url.startsWith(`${REDIRECT}?code=`))
})

test('the page says that it takes no passkey; the password of a customer who has one opens it', async (t) => {
  const house = await openHouse(t)
  await registerApps(house)
  const { id } = await house.member('ada@example.com')
  await givePasskey(house, id)
  const browser = new Browser(house)
  const page = await browser.go((await begin(await library(house))).url)
  assert.match(page.text, /takes no passkeys: if you sign in by one, use your password and authenticator app here/)
  assert.ok((await allow(browser, await signIn(browser, page, 'ada@example.com'))).url.startsWith(REDIRECT))
})

test('in production staff with nothing but a passkey gets no scope here; with an authenticator app beside it also `staff`', async (t) => {
  const house = await openHouse(t, { env: { NODE_ENV: 'production', MAIL: 'off' } })
  const { id, token } = await house.staff('boss@example.com', 'super_admin')
  const setup = await house.call('POST', '/auth/2fa/setup', { token, body: {} })
  const { secret } = setup.json<{ secret: string }>()
  await givePasskey(house, id)
  const enter = async () => {
    const started = await house.app.inject({
      method: 'POST',
      url: '/oauth/device_authorization',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      payload: 'client_id=prime-cli&scope=vpn+staff',
    })
    const { user_code } = started.json<{ user_code: string }>()
    const browser = new Browser(house)
    return {
      browser,
      page: await browser.submit(await browser.go(`${PUBLIC_URL}/oauth/device`), '/oauth/device', { user_code }),
    }
  }
  const bare = await enter()
  const refused = await signIn(bare.browser, bare.page, 'boss@example.com')
  assert.equal(refused.status, 403)
  assert.match(refused.text, /Sign in by your passkey, in the web app/)
  const enabled = await house.call('POST', '/auth/2fa/enable', { token, body: { code: codeAt(secret) } })
  assert.equal(enabled.statusCode, 200)
  const { browser, page } = await enter()
  const totp = codeAt(secret, Date.now() + 30_000)
  const asked = await browser.submit(page, '/login', { email: 'boss@example.com', password: PASSWORD, totp })
  assert.match(asked.text, /Do everything your role as staff allows/)
})

test('with HS256 for access tokens id_tokens stay Ed25519, and both verify', async (t) => {
  const house = await openHouse(t, {
    env: { JWT_ALGORITHM: 'HS256', JWT_SECRET_KEY: 'a random text of more than thirty-two bytes' },
  })
  await registerApps(house)
  await house.member('ada@example.com')
  const { tokens } = await authorize(house, 'ada@example.com')
  assert.equal(decodeProtectedHeader(tokens.access_token).alg, 'HS256')
  assert.equal(decodeProtectedHeader(tokens.id_token ?? '').alg, 'EdDSA')
  assert.equal((await house.call('GET', '/users/me', { token: tokens.access_token })).statusCode, 200)
  assert.equal((await house.call('GET', '/users/me', { token: tokens.id_token ?? '' })).statusCode, 401)
})

test('a session of an app ends at its absolute end, lives on by use, and stays as narrow for sockets', async (t) => {
  const house = await openHouse(t)
  await registerApps(house)
  await house.member('ada@example.com')
  const { sql } = house.database
  const { tokens, config } = await authorize(house, 'ada@example.com')
  const principal = await house.auth.authenticateToken(tokens.access_token)
  const later = await house.auth.refreshPrincipal(principal)
  assert.deepEqual(later?.permissions, principal.permissions)
  assert.ok(principal.permissions.has('vpn:use') && !principal.permissions.has('me:secure'))

  await sql`update sessions set idle_expires_at = now() + interval '1 minute' where kind = 'oauth'`
  const fresh = await client.refreshTokenGrant(config, tokens.refresh_token ?? '')
  const [row] =
    await sql`select idle_expires_at > now() + interval '29 days' as longer from sessions where kind = 'oauth'`
  assert.equal(row?.longer, true)
  await sql`update sessions set expires_at = now() - interval '1 second' where kind = 'oauth'`
  await assert.rejects(client.refreshTokenGrant(config, fresh.refresh_token ?? ''), { error: 'invalid_grant' })
})

test('the sweep leaves what lives and removes what expired or lost its session', async (t) => {
  const house = await openHouse(t)
  await registerApps(house)
  await house.member('ada@example.com')
  const { sql } = house.database
  const { tokens, config } = await authorize(house, 'ada@example.com')
  const gone = await authorize(house, 'ada@example.com')
  const sid = (await house.auth.authenticateToken(gone.tokens.access_token)).sessionId
  await sql`delete from sessions where id = ${sid}`
  await sql`update oauth_artifacts set created_at = created_at - interval '11 minutes'`
  await sql`update oauth_artifacts set expires_at = now() where model in ('Session', 'Interaction', 'AuthorizationCode')`
  await house.auth.jobs['auth-sweep']?.({})
  const left = await sql<{ model: string }[]>`select model from oauth_artifacts order by model`
  assert.deepEqual(
    left.map(({ model }) => model),
    ['Grant', 'RefreshToken'],
  )
  assert.ok((await client.refreshTokenGrant(config, tokens.refresh_token ?? '')).access_token)
})

test('behind https the cookies are bound to host and https, and every address is https', async (t) => {
  const { sql: db } = await freshDatabase(t)
  const publicUrl = 'https://vpn.example.com'
  const config = parseConfig({ NODE_ENV: 'test', LOG_LEVEL: 'silent', PUBLIC_URL: publicUrl })
  const [log, kv, secrets] = [createLog('silent'), memoryKv(), throwawaySecrets()]
  const mailer = createMailer(config, { db, secrets, publicUrl })
  const subscriptionOf = async () => ({ status: 'active' as const, expiry: null })
  const auth = await createAuth({ db, kv, secrets, config, log, publicUrl, mailer, ends: [], subscriptionOf })
  const app = await createApp({ config, log, authenticate: auth.authenticate })
  auth.routes(app)
  defer(t, () => app.close())
  await db`insert into oauth_clients (client_id, name, kind, redirect_uris, scopes)
           values (${NATIVE.client_id}, 'App', 'native', ${NATIVE.redirect_uris}, '{openid,vpn}')`
  const query = new URLSearchParams({
    client_id: NATIVE.client_id,
    redirect_uri: REDIRECT,
    response_type: 'code',
    scope: 'vpn',
    code_challenge: 'x'.repeat(43),
    code_challenge_method: 'S256',
  })
  const answer = await app.inject(`/oauth/authorize?${query.toString()}`)
  assert.equal(answer.statusCode, 303)
  for (const { name, secure, httpOnly, sameSite, path, domain } of answer.cookies) {
    assert.match(name, /^__(Host|Secure)-prime_oauth/)
    assert.deepEqual([secure, httpOnly, sameSite?.toLowerCase(), domain], [true, true, 'lax', undefined], name)
    assert.equal(path === '/', name.startsWith('__Host-'), name)
  }
  assert.ok(answer.cookies.length >= 2)
  const device = await app.inject('/oauth/device')
  assert.ok(device.cookies.some(({ name, path }) => name === '__Host-prime_oauth' && path === '/'))
  const { body } = await app.inject('/.well-known/openid-configuration')
  assert.doesNotMatch(body, /http:/)
})

test('the browser of a second person does not go on with the sign-in of the first', async (t) => {
  const house = await openHouse(t)
  await registerApps(house)
  await house.member('ada@example.com')
  const config = await library(house)
  const [ada, eve] = [new Browser(house), new Browser(house)]
  const asked = await signIn(ada, await ada.go((await begin(config)).url), 'ada@example.com')
  const stolen = await eve.submit(asked, '/consent', { decision: 'allow' })
  assert.equal(stolen.status, 403)
  const resumed = ada.seen.find(({ headers }) => String(headers.location).includes('/oauth/authorize/'))
  const later = await eve.go(String(resumed?.headers.location))
  assert.equal(later.status, 400)
})
