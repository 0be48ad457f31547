import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { decodeJwt } from 'jose'
import * as client from 'openid-client'
import type { FailedAttempt } from '../../platform/attempts.ts'
import { openHouse, PUBLIC_URL, type House } from '../testing/house.ts'
import { createLog } from '../../platform/log.ts'
import { PostgresAdapter } from './adapter.ts'
import { sha256 } from './artifact-store.ts'
import { allow, begin, DEVICE, library, NATIVE, registerApps, signIn } from './testing/apps.ts'
import { Browser, type Page } from './testing/browser.ts'

const failed: FailedAttempt[] = []
const house: House = await openHouse({ after }, { attempts: { failed: (_req, kind) => void failed.push(kind) } })
await registerApps(house)
const { sql } = house.database
const silent = createLog('silent')
const GRANT = 'urn:ietf:params:oauth:grant-type:device_code'

type Started = {
  device_code: string
  user_code: string
  verification_uri: string
  verification_uri_complete: string
  interval: number
  expires_in: number
}
const post = (url: string, form: Record<string, string>) =>
  house.app.inject({
    method: 'POST',
    url,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payload: new URLSearchParams(form).toString(),
  })
const start = async (client_id = DEVICE.client_id, scope = 'openid offline_access vpn') =>
  (await post('/oauth/device_authorization', { client_id, scope })).json<Started>()
const poll = async (device_code: string, client_id = DEVICE.client_id) => {
  const answer = await post('/oauth/token', { grant_type: GRANT, device_code, client_id })
  return answer.json<{ error?: string; access_token: string; refresh_token: string }>()
}
/** Time passes for the polling of all devices. */
const wait = (seconds: number) =>
  sql`update oauth_artifacts set polled_at = polled_at - make_interval(secs => ${seconds}) where model = 'DeviceCode'`
const enter = async (code: string, browser = new Browser(house)) => ({
  browser,
  page: await browser.submit(await browser.go(`${PUBLIC_URL}/oauth/device`), '/oauth/device', { user_code: code }),
})
async function approve(code: string, email: string) {
  const { browser, page } = await enter(code)
  return allow(browser, await signIn(browser, page, email))
}

test('a library that we did not write signs a device in while its owner allows it elsewhere', async () => {
  await house.member('tv@example.com')
  const config = await library(house, DEVICE.client_id)
  const started = await client.initiateDeviceAuthorization(config, { scope: 'openid offline_access vpn' })
  assert.match(started.user_code, /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/)
  assert.deepEqual([started.interval, started.expires_in], [5, 600])
  assert.equal(started.verification_uri, `${PUBLIC_URL}/oauth/device`)
  assert.equal((await poll(started.device_code)).error, 'authorization_pending')

  const browser = new Browser(house)
  const filled = await browser.go(started.verification_uri_complete ?? '')
  assert.match(filled.text, new RegExp(`value="${started.user_code}"`))
  assert.equal((await poll(started.device_code)).error, 'slow_down', 'the address alone allows nothing')
  const signInPage = await browser.submit(filled, '/oauth/device', { user_code: started.user_code })
  const asked = await signIn(browser, signInPage, 'tv@example.com')
  assert.match(asked.text, /<h1>Allow TV\?<\/h1>/)
  assert.match(asked.text, new RegExp(started.user_code))
  assert.match((await allow(browser, asked)).text, /is signed in/)

  await wait(60)
  const quick = { ...started, interval: 0.01 }
  const tokens = await client.pollDeviceAuthorizationGrant(config, quick)
  const { sid, scope } = decodeJwt(tokens.access_token)
  assert.equal(scope, 'vpn')
  assert.ok(sid)
  assert.equal((await house.call('GET', '/users/me', { token: tokens.access_token })).statusCode, 200)
  const fresh = await client.refreshTokenGrant(config, tokens.refresh_token ?? '')
  assert.ok(fresh.refresh_token)
})

test('a device is let in by another account than the one that signed in to an app in that browser meanwhile', async () => {
  for (const who of ['tv-ada@example.com', 'tv-bob@example.com']) await house.member(who)
  const { device_code, user_code } = await start()
  const browser = new Browser(house)
  const entry = await browser.go(`${PUBLIC_URL}/oauth/device`)
  const { url } = await begin(await library(house))
  await allow(browser, await signIn(browser, await browser.go(url), 'tv-ada@example.com'))
  const signInPage = await browser.submit(entry, '/oauth/device', { user_code })
  const asked = await signIn(browser, signInPage, 'tv-bob@example.com')
  assert.match(asked.text, /tv-bob@example\.com/)
  assert.match((await allow(browser, asked)).text, /is signed in/)
  await wait(60)
  assert.ok((await poll(device_code)).access_token)
})

test('who asks faster than the interval hears slow_down, waits five seconds more each time, and gets no token by it', async () => {
  await house.member('slow@example.com')
  const { device_code, user_code } = await start()
  const errors: (string | undefined)[] = []
  const ask = async (after: number) => {
    await wait(after)
    errors.push((await poll(device_code)).error)
  }
  await ask(0)
  await ask(0)
  await ask(6)
  await ask(16)
  assert.deepEqual(errors, ['authorization_pending', 'slow_down', 'slow_down', 'authorization_pending'])
  await approve(user_code, 'slow@example.com')
  assert.equal((await poll(device_code)).error, 'slow_down')
  await wait(60)
  assert.ok((await poll(device_code)).access_token)
})

test('a device code works once, and only for its app', async () => {
  await house.member('once@example.com')
  await sql`insert into oauth_clients (client_id, name, kind, scopes) values ('other-tv', 'Other', 'device', '{openid,vpn}')`
  const { device_code, user_code } = await start()
  await approve(user_code, 'once@example.com')
  assert.equal((await poll(device_code, 'other-tv')).error, 'invalid_grant')
  await wait(60)
  const first = await poll(device_code)
  assert.ok(first.access_token)
  await wait(60)
  assert.equal((await poll(device_code)).error, 'invalid_grant')
  const token = first.access_token
  assert.equal((await house.call('GET', '/users/me', { token })).statusCode, 401, 'a copy is in two hands')
  assert.equal((await poll(`${device_code}A`)).error, 'invalid_grant')
})

test('an expired code is told as such, to the second', async () => {
  const clock = Date.now
  const { device_code, user_code } = await start()
  try {
    Date.now = () => clock() + 601_000
    assert.equal((await poll(device_code)).error, 'expired_token')
    const { page } = await enter(user_code)
    assert.equal(page.status, 400)
  } finally {
    Date.now = clock
  }
})

test('who is asked may refuse; the device hears access_denied', async () => {
  await house.member('no@example.com')
  const { device_code, user_code } = await start()
  const { browser, page } = await enter(user_code)
  const asked = await signIn(browser, page, 'no@example.com')
  const done = await browser.submit(asked, '/consent', { decision: 'deny' })
  assert.match(done.text, /You did not allow it/)
  assert.equal((await poll(device_code)).error, 'access_denied')
  const other = await start()
  const second = await enter(other.user_code)
  await second.browser.submit(second.page, '/cancel', {})
  assert.equal((await poll(other.device_code)).error, 'access_denied')
})

test('wrong, used and expired codes look alike, and count', async () => {
  await house.member('alike@example.com')
  const { user_code } = await start()
  await approve(user_code, 'alike@example.com')
  const before = failed.length
  const plain = (text: string) => text.replace(/name="xsrf" value="[^"]*"/, '')
  const wrong = await enter('BBBB-BBBB')
  const used = await enter(user_code)
  const empty = await enter('')
  assert.equal(plain(wrong.page.text), plain(used.page.text))
  assert.equal(plain(wrong.page.text), plain(empty.page.text))
  assert.deepEqual(failed.slice(before), ['code', 'code', 'code'])
})

test('of two who enter one code at the same moment one goes on, and the other hears that it is wrong', async () => {
  await house.member('first@example.com')
  await house.member('second@example.com')
  const { user_code, device_code } = await start()
  const browsers = [new Browser(house), new Browser(house)]
  const pages = await Promise.all(browsers.map((browser) => browser.go(`${PUBLIC_URL}/oauth/device`)))
  let entered: Promise<Page[]> | undefined
  // Both have read the code before either can write.
  await house.database.owner.begin(async (tx) => {
    await tx`select from oauth_artifacts where model = 'DeviceCode' for update`
    entered = Promise.all(
      browsers.map((browser, i) => browser.submit(pages[i] as Page, '/oauth/device', { user_code })),
    )
    const waiting = async () =>
      (await tx`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`).count
    while ((await waiting()) < 2) await new Promise((resolve) => setTimeout(resolve, 5))
  })
  const shown = (await entered) ?? []
  const inside = shown.findIndex(({ text }) => text.includes('Sign in to'))
  const outside = shown[1 - inside]
  assert.deepEqual([outside?.status, outside?.text.includes('This code is not right')], [400, true])
  const browser = browsers[inside] as Browser
  await allow(browser, await signIn(browser, shown[inside] as Page, 'second@example.com'))
  assert.ok((await poll(device_code)).access_token)
})

test('a device code is allowed once: what a second one gave for it ends', async () => {
  const members = [await house.member('one@example.com'), await house.member('two@example.com')]
  const announced: string[] = []
  const revocations = { announce: async ({ userId }: { userId: string }) => void announced.push(userId) }
  const adapter = new PostgresAdapter(
    { db: sql, secrets: house.secrets, revocations, log: silent } as never,
    'DeviceCode',
  )
  await adapter.upsert('a-device-code', { userCode: 'XXXXXXXX' }, 600)
  const grants = await Promise.all(
    members.map(async ({ id }) => {
      const grantId = `grant of ${id}`
      await sql`insert into oauth_grants (grant_hash, session_id, client_id)
                select ${sha256(grantId)}, id, 'tv-app' from sessions where user_id = ${id}`
      return { accountId: id, grantId, userCode: 'XXXXXXXX', inFlight: true }
    }),
  )
  const [first, second] = grants
  await adapter.upsert('a-device-code', first ?? {}, 600)
  await assert.rejects(adapter.upsert('a-device-code', second ?? {}, 600))
  await assert.rejects(adapter.upsert('a-device-code', { ...second, error: 'access_denied' }, 600))
  assert.deepEqual(await adapter.find('a-device-code'), first)
  assert.deepEqual(announced, [members[1]?.id])
  assert.equal((await house.call('GET', '/users/me', members[1])).statusCode, 401)
  assert.equal((await house.call('GET', '/users/me', members[0])).statusCode, 200)
  await adapter.destroy('a-device-code')
})

test('codes are taken in small letters and without the dash', async () => {
  await house.member('small@example.com')
  const { user_code } = await start()
  const { page } = await enter(` ${user_code.replace('-', '').toLowerCase()} `)
  assert.match(page.text, /Sign in to/)
})

test('a form without the token of its page is refused, and an app of another kind has no device grant', async () => {
  const { user_code, device_code } = await start()
  assert.equal((await post('/oauth/device', { user_code, confirm: 'yes', xsrf: 'x' })).statusCode, 400)
  const browser = new Browser(house)
  const page = await browser.go(`${PUBLIC_URL}/oauth/device`)
  const forged = await browser.submit(page, '/oauth/device', { user_code, xsrf: 'x' })
  assert.equal(forged.status, 400)
  assert.match(forged.text, /Connect a device/)
  assert.equal((await poll(device_code)).error, 'authorization_pending')
  const native = await post('/oauth/device_authorization', { client_id: NATIVE.client_id })
  assert.equal(native.statusCode, 400)
  assert.equal((await post('/oauth/device_authorization', { client_id: 'nobody' })).statusCode, 401)
})

test('a page asked for again once its cookies are dead is a page of ours, with our headers', async () => {
  const dead = { cookie: 'prime_oauth=gone; prime_oauth.sig=x' }
  const form = { 'content-type': 'application/x-www-form-urlencoded' }
  for (const answer of [
    await house.app.inject({ url: '/oauth/device/abcdefghijklmnopqrstu', headers: dead }),
    await house.app.inject({ url: '/oauth/device/abcdefghijklmnopqrstu' }),
    await house.app.inject({ url: '/oauth/device', method: 'POST', headers: form, payload: 'user_code=BBBB-BBBB' }),
    await house.app.inject({
      url: '/oauth/device',
      method: 'POST',
      headers: { ...dead, ...form },
      payload: 'user_code=BBBB-BBBB&xsrf=x',
    }),
  ]) {
    assert.equal(answer.statusCode, 400)
    assert.equal(answer.headers['content-type'], 'text/html; charset=utf-8')
    assert.match(answer.body, /the page has expired/)
    assert.match(String(answer.headers['content-security-policy']), /default-src 'none'/)
    assert.equal(answer.headers['x-frame-options'], 'DENY')
    assert.ok(answer.headers['x-request-id'])
    assert.match(String(answer.headers['cache-control']), /no-store/)
  }
})

test('a fault behind the provider is a page, with our headers and nothing of the inside', async (t) => {
  t.mock.method(PostgresAdapter.prototype, 'upsert', async () => {
    throw new Error('the inside')
  })
  const { statusCode, headers, body } = await house.app.inject('/oauth/device')
  assert.equal(statusCode, 500)
  assert.match(body, /Something went wrong on our side/)
  assert.equal(headers['x-frame-options'], 'DENY')
  assert.equal(headers['access-control-allow-origin'], undefined)
  assert.equal(headers['set-cookie'], undefined)
  assert.doesNotMatch(body, /the inside/)
})

test('who was switched off after allowing is not let in', async () => {
  const who = await house.member('off@example.com')
  const { device_code, user_code } = await start()
  await approve(user_code, 'off@example.com')
  await sql`update users set is_active = false where id = ${who.id}`
  assert.equal((await poll(device_code)).error, 'invalid_grant')
})

test('the shipped command line gets what a role allows, and for customers no more than before', async () => {
  await house.staff('boss@example.com', 'super_admin')
  await house.member('plain@example.com')
  const scope = 'openid offline_access vpn account staff'
  const tokensOf = async (email: string) => {
    const { device_code, user_code } = await start('prime-cli', scope)
    await approve(user_code, email)
    return poll(device_code, 'prime-cli')
  }
  const boss = await tokensOf('boss@example.com')
  assert.equal(decodeJwt(boss.access_token).scope, 'vpn account staff')
  const status = async (url: string, token: string) => (await house.call('GET', url, { token })).statusCode
  assert.equal(await status('/users', boss.access_token), 200)
  assert.equal(await status('/admin/oauth-clients', boss.access_token), 200)
  assert.equal(await status('/auth/sessions', boss.access_token), 403)
  const plain = await tokensOf('plain@example.com')
  assert.equal(decodeJwt(plain.access_token).scope, 'vpn account')
  assert.equal(await status('/users', plain.access_token), 403)
  const other = await start(DEVICE.client_id, scope)
  await approve(other.user_code, 'boss@example.com')
  assert.equal(decodeJwt((await poll(other.device_code)).access_token).scope, 'vpn account')
})

test('nothing a device said of itself is shown, and no address of it kept', async () => {
  await start()
  const rows = await house.database.owner<{ payload: Buffer; id_hash: Buffer }[]>`
    select payload, id_hash from oauth_artifacts where model = 'DeviceCode'`
  for (const { payload, id_hash } of rows) {
    const text = house.secrets.open('oauth-artifact', `DeviceCode ${id_hash.toString('base64url')}`, payload).toString()
    assert.deepEqual((JSON.parse(text) as { deviceInfo: unknown }).deviceInfo, {})
    assert.ok(!text.includes('127.0.0.1"'))
  }
  assert.ok(rows.length > 0)
})
