import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import * as client from 'openid-client'
import { openHouse, PUBLIC_URL } from '../testing/house.ts'
import { allow, authorize, begin, library, NATIVE, REDIRECT, registerApps, SCOPES, signIn } from './testing/apps.ts'
import { Browser } from './testing/browser.ts'

const house = await openHouse({ after })
await registerApps(house)

const me = (token: string) => house.call('GET', '/users/me', { token })
const post = (url: string, form: Record<string, string>) =>
  house.app.inject({
    method: 'POST',
    url,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payload: new URLSearchParams(form).toString(),
  })

test('a library that we did not write signs an app in, uses, refreshes and revokes', async () => {
  await house.member('ada@example.com')
  const { tokens, config, browser, back, begun } = await authorize(house, 'ada@example.com')
  assert.ok(back.url.startsWith(`${REDIRECT}?`))
  const answer = new URL(back.url).searchParams
  assert.equal(answer.get('state'), begun.state)
  assert.equal(answer.get('iss'), PUBLIC_URL)
  assert.ok(browser.seen.every(({ status }) => [200, 303].includes(status)))

  const claims = tokens.claims()
  assert.deepEqual([claims?.email, claims?.email_verified, claims?.aud], ['ada@example.com', false, NATIVE.client_id])
  const access = decodeJwt(tokens.access_token)
  assert.deepEqual(
    [
      access.iss,
      access.aud,
      access.scope,
      access.role,
      access.client_id,
      decodeProtectedHeader(tokens.access_token).typ,
    ],
    [PUBLIC_URL, 'prime-vpn', 'vpn', 'user', NATIVE.client_id, 'at+jwt'],
  )
  assert.equal(tokens.expires_in, 1800)
  const mine = await me(tokens.access_token)
  assert.equal(mine.statusCode, 200)
  assert.equal(mine.json<{ email: string }>().email, 'ada@example.com')

  const fresh = await client.refreshTokenGrant(config, tokens.refresh_token ?? '')
  assert.notEqual(fresh.refresh_token, tokens.refresh_token)
  assert.equal(decodeJwt(fresh.access_token).sid, access.sid)
  assert.equal((await me(fresh.access_token)).statusCode, 200)

  await client.tokenRevocation(config, fresh.refresh_token ?? '')
  assert.equal((await me(fresh.access_token)).statusCode, 401)
  await assert.rejects(client.refreshTokenGrant(config, fresh.refresh_token ?? ''), { error: 'invalid_grant' })
})

test('an app gets what its scopes say; never what is kept for first-party sessions', async () => {
  const { token } = await house.member('scopes@example.com')
  const { tokens } = await authorize(house, 'scopes@example.com')
  const allowed = async (method: 'GET' | 'PUT', url: string, body?: object) =>
    (await house.call(method, url, { token: tokens.access_token, ...(body ? { body } : {}) })).statusCode
  assert.equal(await allowed('GET', '/users/me/devices'), 200)
  assert.equal(await allowed('PUT', '/users/me', { full_name: 'X' }), 403)
  for (const url of ['/auth/sessions', '/users', '/admin/oauth-clients']) assert.equal(await allowed('GET', url), 403)
  const wider = await authorize(house, 'scopes@example.com', { scope: `${SCOPES} account staff` })
  assert.equal(decodeJwt(wider.tokens.access_token).scope, 'vpn account')
  const changed = await house.call('PUT', '/users/me', { token: wider.tokens.access_token, body: { full_name: 'X' } })
  assert.equal(changed.statusCode, 200)
  const secure = await house.call('GET', '/auth/sessions', { token: wider.tokens.access_token })
  assert.equal(secure.statusCode, 403)
  // The owner sees the app among the sessions and ends it.
  const list = await house.call('GET', '/auth/sessions', { token })
  const apps = list
    .json<{ data: { id: string; device_name: string }[] }>()
    .data.filter((s) => s.device_name === NATIVE.name)
  assert.equal(apps.length, 2)
  for (const { id } of apps) await house.call('DELETE', `/auth/sessions/${id}`, { token })
  assert.equal((await me(tokens.access_token)).statusCode, 401)
  assert.equal((await me(wider.tokens.access_token)).statusCode, 401)
})

test('a token for fewer scopes at refresh gets fewer rights, and never more', async () => {
  await house.member('less@example.com')
  const { tokens, config } = await authorize(house, 'less@example.com', { scope: `${SCOPES} account` })
  const less = await client.refreshTokenGrant(config, tokens.refresh_token ?? '', { scope: 'vpn' })
  assert.equal(decodeJwt(less.access_token).scope, 'vpn')
  const tried = await house.call('PUT', '/users/me', { token: less.access_token, body: { full_name: 'X' } })
  assert.equal(tried.statusCode, 403)
  await assert.rejects(client.refreshTokenGrant(config, less.refresh_token ?? '', { scope: 'vpn staff' }), {
    error: 'invalid_scope',
  })
})

test('a code works once; a second use ends what it gave', async () => {
  await house.member('code@example.com')
  const { tokens, back, begun } = await authorize(house, 'code@example.com')
  const again = await post('/oauth/token', {
    grant_type: 'authorization_code',
    code: new URL(back.url).searchParams.get('code') ?? '',
    redirect_uri: REDIRECT,
    client_id: NATIVE.client_id,
    code_verifier: begun.verifier,
  })
  assert.equal(again.statusCode, 400)
  assert.equal(again.json<{ error: string }>().error, 'invalid_grant')
  assert.equal((await me(tokens.access_token)).statusCode, 401)
})

test('of many who exchange one code at once, at most one session is left', async () => {
  await house.member('racecode@example.com')
  const config = await library(house)
  const begun = await begin(config)
  const browser = new Browser(house)
  const back = await allow(browser, await signIn(browser, await browser.go(begun.url), 'racecode@example.com'))
  const form = {
    grant_type: 'authorization_code',
    code: new URL(back.url).searchParams.get('code') ?? '',
    redirect_uri: REDIRECT,
    client_id: NATIVE.client_id,
    code_verifier: begun.verifier,
  }
  const answers = await Promise.all(Array.from({ length: 20 }, () => post('/oauth/token', form)))
  const good = answers.filter(({ statusCode }) => statusCode === 200)
  assert.ok(good.length <= 1)
  for (const each of good) assert.equal((await me(each.json<{ access_token: string }>().access_token)).statusCode, 401)
})

test('a replayed refresh token ends the family; of two hundred at once none or one family survives, never two', async () => {
  await house.member('replay@example.com')
  const { tokens, config } = await authorize(house, 'replay@example.com')
  const fresh = await client.refreshTokenGrant(config, tokens.refresh_token ?? '')
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token ?? ''), { error: 'invalid_grant' })
  assert.equal((await me(fresh.access_token)).statusCode, 401)
  await assert.rejects(client.refreshTokenGrant(config, fresh.refresh_token ?? ''), { error: 'invalid_grant' })

  const other = await authorize(house, 'replay@example.com')
  const form = {
    grant_type: 'refresh_token',
    refresh_token: other.tokens.refresh_token ?? '',
    client_id: NATIVE.client_id,
  }
  const answers = await Promise.all(Array.from({ length: 200 }, () => post('/oauth/token', form)))
  const families = answers.filter(({ statusCode }) => statusCode === 200)
  assert.ok(families.length <= 1, `${families.length}`)
  for (const family of families) {
    const { refresh_token, access_token } = family.json<{ refresh_token: string; access_token: string }>()
    assert.equal((await me(access_token)).statusCode, 401)
    const next = await post('/oauth/token', { ...form, refresh_token })
    assert.equal(next.statusCode, 400)
  }
})

test('cut, extended and foreign refresh tokens are refused, and families are left alone', async () => {
  const { refresh } = await house.member('cut@example.com')
  const { tokens, config } = await authorize(house, 'cut@example.com')
  const token = tokens.refresh_token ?? ''
  for (const other of [token.slice(0, -1), token.slice(0, -8), `${token}A`, token.slice(1), refresh, ''])
    assert.equal(
      (await post('/oauth/token', { grant_type: 'refresh_token', refresh_token: other, client_id: NATIVE.client_id }))
        .statusCode,
      400,
    )
  assert.equal((await house.call('POST', '/auth/refresh', { body: { refresh_token: token } })).statusCode, 401)
  assert.equal((await house.call('POST', '/auth/refresh', { body: { refresh_token: refresh } })).statusCode, 200)
  await client.refreshTokenGrant(config, token)
})

test('codes and refresh tokens are bound to their app, address and challenge', async () => {
  await house.member('bound@example.com')
  await house.database.sql`
    insert into oauth_clients (client_id, name, kind, redirect_uris, scopes)
    values ('other-app', 'Other', 'native', ${NATIVE.redirect_uris}, '{openid,vpn,offline_access}')`
  const config = await library(house)
  const attempt = async (change: Record<string, string>) => {
    const begun = await begin(config)
    const browser = new Browser(house)
    const back = await allow(browser, await signIn(browser, await browser.go(begun.url), 'bound@example.com'))
    const form = {
      grant_type: 'authorization_code',
      code: new URL(back.url).searchParams.get('code') ?? '',
      redirect_uri: REDIRECT,
      client_id: NATIVE.client_id,
      code_verifier: begun.verifier,
      ...change,
    }
    return (await post('/oauth/token', form)).json<{ error?: string }>().error
  }
  assert.equal(await attempt({}), undefined)
  assert.equal(await attempt({ client_id: 'other-app' }), 'invalid_grant')
  assert.equal(await attempt({ redirect_uri: 'http://127.0.0.1:53312/callback' }), 'invalid_grant')
  assert.equal(await attempt({ code_verifier: client.randomPKCECodeVerifier() }), 'invalid_grant')
  const { tokens } = await authorize(house, 'bound@example.com')
  const foreign = await post('/oauth/token', {
    grant_type: 'refresh_token',
    refresh_token: tokens.refresh_token ?? '',
    client_id: 'other-app',
  })
  assert.equal(foreign.json<{ error: string }>().error, 'invalid_grant')
})

test('PKCE by S256 is required; plain, implicit and password are not there', async () => {
  const config = await library(house)
  const query = (change: Record<string, string | undefined>) => {
    const url = new URL(`${PUBLIC_URL}/oauth/authorize`)
    const fields = { client_id: NATIVE.client_id, redirect_uri: REDIRECT, response_type: 'code', scope: 'vpn', state: 's', code_challenge: 'x'.repeat(43), code_challenge_method: 'S256', ...change } // prettier-ignore
    for (const [name, value] of Object.entries(fields)) if (value !== undefined) url.searchParams.set(name, value)
    return new Browser(house).go(url.href)
  }
  const errorOf = async (change: Record<string, string | undefined>) => {
    const { search, hash } = new URL((await query(change)).url)
    return new URLSearchParams(search || hash.slice(1)).get('error')
  }
  assert.equal(await errorOf({ code_challenge: undefined, code_challenge_method: undefined }), 'invalid_request')
  assert.equal(await errorOf({ code_challenge_method: 'plain' }), 'invalid_request')
  assert.equal(await errorOf({ code_challenge_method: undefined }), 'invalid_request')
  assert.equal(await errorOf({ response_type: 'token' }), 'unsupported_response_type')
  assert.equal(await errorOf({ response_type: 'code id_token', nonce: 'n' }), 'unsupported_response_type')
  assert.equal(await errorOf({ response_mode: 'form_post' }), 'unsupported_response_mode')
  assert.equal(await errorOf({ prompt: 'none' }), 'login_required')
  assert.equal(await errorOf({ resource: 'https://elsewhere.example/' }), 'invalid_target')
  for (const grant_type of [
    'password',
    'client_credentials',
    'implicit',
    'urn:ietf:params:oauth:grant-type:device_code',
  ]) {
    const answer = await post('/oauth/token', { grant_type, client_id: NATIVE.client_id, username: 'a', password: 'b' })
    assert.equal(answer.statusCode, 400, grant_type)
  }
  assert.equal(config.serverMetadata().issuer, PUBLIC_URL)
})

test('whatever takes an account’s access away takes its apps’ too', async () => {
  const chief = await house.staff('chief@example.com', 'admin')
  const suspend = (id: string, is_active: boolean) =>
    house.call('PUT', `/users/${id}/status`, { token: chief.token, body: { is_active, reason: 'test' } })
  const who = await house.member('gone@example.com')
  const { tokens, config } = await authorize(house, 'gone@example.com')
  await suspend(who.id, false)
  assert.equal((await me(tokens.access_token)).statusCode, 401)
  await suspend(who.id, true)
  assert.equal((await me(tokens.access_token)).statusCode, 401, 'what ended does not come back')
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token ?? ''), { error: 'invalid_grant' })

  // Between the code and its exchange, and between signing in and allowing.
  const begun = await begin(config)
  const browser = new Browser(house)
  const back = await allow(browser, await signIn(browser, await browser.go(begun.url), 'gone@example.com'))
  await suspend(who.id, false)
  await assert.rejects(
    client.authorizationCodeGrant(config, new URL(back.url), { pkceCodeVerifier: begun.verifier, expectedState: begun.state, expectedNonce: begun.nonce }), // prettier-ignore
    { error: 'invalid_grant' },
  )
  await suspend(who.id, true)
  const late = await begin(config)
  const standing = await signIn(browser, await browser.go(late.url), 'gone@example.com')
  await house.database.sql`update users set hashed_password = 'changed' where id = ${who.id}`
  assert.equal((await allow(browser, standing)).status, 403)
})

test('an access token can be revoked by its own app, and by no other', async () => {
  await house.member('revoke@example.com')
  const { tokens, config } = await authorize(house, 'revoke@example.com')
  const foreign = await post('/oauth/revoke', { token: tokens.access_token, client_id: 'tv-app' })
  assert.equal(foreign.statusCode, 200)
  assert.equal((await me(tokens.access_token)).statusCode, 200)
  assert.equal((await post('/oauth/revoke', { token: tokens.access_token, client_id: 'nobody' })).statusCode, 401)
  await client.tokenRevocation(config, tokens.access_token)
  assert.equal((await me(tokens.access_token)).statusCode, 401)
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token ?? ''), { error: 'invalid_grant' })
  assert.equal((await post('/oauth/revoke', { token: 'a.b.c', client_id: NATIVE.client_id })).statusCode, 200)
  assert.equal((await post('/oauth/revoke', { token: 'unknown', client_id: NATIVE.client_id })).statusCode, 200)
})

test('an id_token is no access token, and a doubled field is refused', async () => {
  await house.member('mixed@example.com')
  const { tokens } = await authorize(house, 'mixed@example.com')
  assert.equal((await me(tokens.id_token ?? '')).statusCode, 401)
  const doubled = await house.app.inject({
    method: 'POST',
    url: '/oauth/token',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payload: `grant_type=refresh_token&refresh_token=a&refresh_token=b&client_id=${NATIVE.client_id}`,
  })
  assert.equal(doubled.statusCode, 400)
  assert.equal(doubled.json<{ error: string }>().error, 'invalid_request')
  assert.equal(doubled.headers['cache-control'], 'no-store')
  const json = await house.call('POST', '/oauth/token', { body: { grant_type: 'refresh_token' } })
  assert.deepEqual([json.statusCode, json.json<{ error: string }>().error], [415, 'invalid_request'])
})

test('no secret that was handed out lies in the database', async () => {
  await house.member('dump@example.com')
  const { tokens, back } = await authorize(house, 'dump@example.com')
  const rows = await house.database.owner<{ text: string }[]>`
    select a::text || encode(payload, 'escape') as text from oauth_artifacts a
    union all select g::text from oauth_grants g union all select s::text from sessions s`
  const dump = rows.map(({ text }) => text).join('\n')
  const code = new URL(back.url).searchParams.get('code') ?? 'none'
  for (const secret of [tokens.refresh_token ?? 'none', tokens.access_token, code]) {
    assert.ok(!dump.includes(secret))
    assert.ok(!dump.includes(Buffer.from(secret).toString('hex')))
  }
})
