import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FailedAttempt } from '../../platform/attempts.ts'
import { createLog } from '../../platform/log.ts'
import { openHouse, PUBLIC_URL } from '../testing/house.ts'
import { allow, begin, library, NATIVE, REDIRECT, registerApps, signIn } from './testing/apps.ts'
import { Browser } from './testing/browser.ts'

const failed: FailedAttempt[] = []
const logged: string[] = []
const house = await openHouse(
  { after },
  {
    attempts: { failed: (_req, kind) => void failed.push(kind) },
    log: createLog('error', { write: (line) => void logged.push(line) }),
  },
)
await registerApps(house)
await house.member('ada@example.com')

async function atSignIn(more: Record<string, string> = {}, browser = new Browser(house)) {
  const begun = await begin(await library(house), more)
  return { browser, begun, page: await browser.go(begun.url) }
}
const authorizeUrl = (query: string) => `/oauth/authorize?${query}`
const QUERY = `client_id=${NATIVE.client_id}&redirect_uri=${encodeURIComponent(REDIRECT)}&response_type=code&scope=vpn&code_challenge=${'x'.repeat(43)}&code_challenge_method=S256`

test('pages load nothing, run no script, cannot be framed, are kept nowhere and can be used by everybody', async () => {
  const { browser, page } = await atSignIn()
  const asked = await signIn(browser, page, 'ada@example.com')
  for (const each of [page, asked, await browser.go(`${PUBLIC_URL}/oauth/device`)]) {
    assert.equal(each.status, 200)
    const policy = String(each.headers['content-security-policy'])
    assert.match(policy, /default-src 'none'/)
    assert.match(policy, /frame-ancestors 'none'/)
    assert.doesNotMatch(policy, /unsafe|script-src/)
    const style = /<style>([^]*?)<\/style>/.exec(each.text)?.[1] ?? ''
    assert.ok(
      policy.includes(`'sha256-${createHash('sha256').update(style).digest('base64')}'`),
      'its own style is let in',
    )
    assert.equal(each.headers['x-frame-options'], 'DENY')
    assert.equal(each.headers['referrer-policy'], 'no-referrer')
    assert.match(String(each.headers['cache-control']), /no-store/)
    assert.equal(each.headers['content-type'], 'text/html; charset=utf-8')
    assert.doesNotMatch(each.text, /<script|onclick|onfocus|javascript:|https?:\/\/fonts/)
    assert.match(each.text, /<html lang="en">/)
    for (const [, id] of each.text.matchAll(/<input id="([^"]+)"/g))
      assert.match(each.text, new RegExp(`<label for="${id}">`))
  }
  assert.match(page.text, /type="password" required autocomplete="current-password"/)
  assert.match(asked.text, /Desk &lt;App&gt;/, 'names come out as text')
  assert.match(String(asked.headers['content-security-policy']), /form-action 'self' http:\/\/127\.0\.0\.1:53311;/)
})

test('the browser is sent on by 303, and the code leaves only to where it was asked for', async () => {
  const { browser, page } = await atSignIn()
  await allow(browser, await signIn(browser, page, 'ada@example.com'))
  const redirects = browser.seen.filter(({ headers }) => headers.location !== undefined)
  assert.ok(redirects.length >= 5)
  assert.ok(redirects.every(({ status }) => status === 303))
  assert.ok(String(redirects.at(-1)?.headers.location).startsWith(`${REDIRECT}?code=`))
})

test('a wrong password is told on the page, counts, and leaves the page as it was', async () => {
  const { browser, page } = await atSignIn()
  const before = failed.length
  const again = await signIn(browser, page, 'ada@example.com', 'not it, surely')
  assert.equal(again.status, 401)
  assert.match(again.text, /role="alert">The e-mail or the password is wrong\.</)
  assert.match(again.text, /value="ada@example.com"/)
  assert.doesNotMatch(again.text, /not it, surely/)
  const unknown = await signIn(browser, again, '"><b>x@example.com', 'not it, surely')
  assert.equal(unknown.status, 401)
  assert.doesNotMatch(unknown.text, /<b>/)
  assert.deepEqual(failed.slice(before), ['password', 'password'])
  const asked = await signIn(browser, unknown, 'ada@example.com')
  assert.match(asked.text, /<h1>Allow/)
})

test('who must change the password first is told so, and no app is let in', async () => {
  const { id } = await house.member('duty@example.com')
  await house.database
    .sql`insert into one_time_passwords (user_id, expires_at) values (${id}, now() + interval '1 day')`
  const { browser, page } = await atSignIn()
  const answer = await signIn(browser, page, 'duty@example.com')
  assert.equal(answer.status, 403)
  assert.match(answer.text, /Change your password first/)
})

test('a form needs the token and the cookie of its own page', async () => {
  const { browser, page } = await atSignIn()
  const other = await atSignIn()
  const foreign = /name="csrf" value="([^"]*)"/.exec(other.page.text)?.[1] ?? ''
  for (const csrf of ['', 'x', foreign]) {
    const answer = await browser.submit(page, '/login', { csrf, email: 'ada@example.com', password: 'x' })
    assert.equal(answer.status, 403, csrf)
  }
  const action = /action="([^"]*\/login)"/.exec(page.text)?.[1] ?? ''
  const bare = await house.app.inject({
    method: 'POST',
    url: action,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payload: new URLSearchParams({ csrf: /name="csrf" value="([^"]*)"/.exec(page.text)?.[1] ?? '' }).toString(),
  })
  assert.equal(bare.statusCode, 403)
  const text = await house.app.inject({
    method: 'POST',
    url: action,
    headers: { 'content-type': 'text/plain' },
    payload: 'a=b',
  })
  assert.equal(text.statusCode, 415)
  assert.match(text.body, /^<!doctype html>/)
})

test('cancelling tells the app, with its state as it was', async () => {
  const { browser, page, begun } = await atSignIn()
  const back = await browser.submit(page, '/cancel', {})
  const answer = new URL(back.url).searchParams
  assert.deepEqual(
    [answer.get('error'), answer.get('state'), answer.get('iss')],
    ['access_denied', begun.state, PUBLIC_URL],
  )
  const second = await atSignIn()
  const asked = await signIn(second.browser, second.page, 'ada@example.com')
  const denied = await second.browser.submit(asked, '/consent', { decision: 'deny' })
  assert.equal(new URL(denied.url).searchParams.get('error'), 'access_denied')
})

test('each authorization asks for sign-in and consent anew, whatever cookies the browser has', async () => {
  const { browser, page } = await atSignIn()
  await allow(browser, await signIn(browser, page, 'ada@example.com'))
  assert.ok(browser.cookies.length > 0)
  const again = await atSignIn({}, browser)
  assert.match(again.page.text, /Sign in to/)
  assert.match((await signIn(browser, again.page, 'ada@example.com')).text, /<h1>Allow/)
})

test('consent sent twice at once opens one session', async () => {
  const who = await house.member('twice@example.com')
  const { browser, page } = await atSignIn()
  const asked = await signIn(browser, page, 'twice@example.com')
  const answers = await Promise.all([allow(browser, asked), allow(browser, asked)])
  const sessions = await house.database.sql`select from sessions where user_id = ${who.id} and kind = 'oauth'`
  assert.equal(sessions.count, 1)
  assert.ok(answers.some(({ url }) => url.startsWith(`${REDIRECT}?code=`)))
})

test('another account signs in to an app in the same browser, whether or not the one before allowed it', async () => {
  await house.member('bob@example.com')
  for (const abandons of [false, true]) {
    const browser = new Browser(house)
    const asked = await signIn(browser, (await atSignIn({}, browser)).page, 'ada@example.com')
    if (!abandons) assert.match((await allow(browser, asked)).url, /[?&]code=/)
    for (const who of ['bob@example.com', 'bob@example.com', 'ada@example.com']) {
      const shown = await signIn(browser, (await atSignIn({}, browser)).page, who)
      assert.match(shown.text, /<h1>Allow/, `${who}, abandoned: ${abandons}`)
      assert.ok(shown.text.includes(who))
      assert.match((await allow(browser, shown)).url, /[?&]code=/)
    }
  }
})

test('a consent that stands open while another account signs in is not given', async () => {
  const browser = new Browser(house)
  const other = await house.member('other@example.com')
  const asked = await signIn(browser, (await atSignIn({}, browser)).page, 'other@example.com')
  const shown = await signIn(browser.window(), (await atSignIn({}, browser.window())).page, 'ada@example.com')
  assert.match(shown.text, /<h1>Allow/)
  assert.equal((await allow(browser, asked)).status, 403)
  const sessions = await house.database.sql`select from sessions where user_id = ${other.id} and kind = 'oauth'`
  assert.equal(sessions.count, 0)
})

test('one account signs in to two apps at once in one browser', async () => {
  const browser = new Browser(house)
  const pages = [await atSignIn({}, browser), await atSignIn({}, browser)]
  const asked = []
  for (const { page } of pages) asked.push(await signIn(browser, page, 'ada@example.com'))
  for (const page of asked) assert.match((await allow(browser, page)).url, /[?&]code=/)
})

test('who goes on from a page by hand before it is answered signs in anew', async () => {
  const { browser, page } = await atSignIn()
  const asked = await signIn(browser, page, 'ada@example.com')
  const uid = /\/oauth\/interaction\/([\w-]+)/.exec(asked.url)?.[1] ?? ''
  const anew = await browser.go(`${PUBLIC_URL}/oauth/authorize/${uid}`)
  assert.match(anew.text, /Sign in to/)
  const again = await signIn(browser, anew, 'ada@example.com')
  assert.match((await allow(browser, again)).url, /[?&]code=/)
})

/** A browser that has allowed an app and did not go on to where it was sent. */
async function allowed() {
  const { browser, page } = await atSignIn()
  const asked = await signIn(browser, page, 'ada@example.com')
  browser.halt = /\/oauth\/authorize\//
  const { url: onward } = await allow(browser, asked)
  browser.halt = undefined
  return { browser, onward }
}

test('who sends a consent again while the first one is under way gets the code', async () => {
  const { browser, page } = await atSignIn()
  const asked = await signIn(browser, page, 'ada@example.com')
  const { sql, owner } = house.database
  const consents = async () =>
    (await sql`select from oauth_artifacts where model = 'Interaction' and consumed_at is not null`).count
  const [before, locked, open] = [await consents(), Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const held = owner.begin(async (tx) => {
    await tx`lock table sessions in share mode`
    locked.resolve()
    await open.promise
  })
  await locked.promise
  browser.halt = /\/oauth\/authorize\//
  const first = allow(browser, asked)
  while ((await consents()) === before) await sleep(5)
  const second = allow(browser.window(), asked)
  await sleep(150)
  open.resolve()
  await Promise.all([held, first])
  assert.match((await second).url, /[?&]code=/)
})

test('a step that is taken twice at once is done once: the other hears that the page has expired', async () => {
  logged.length = 0
  for (let i = 0; i < 5; i++) {
    const { browser, onward } = await allowed()
    const answers = await Promise.all([1, 2, 3].map(() => browser.go(onward)))
    const told = answers.map(({ status, headers }) => `${status} ${headers.location !== undefined}`)
    assert.deepEqual(told.toSorted(), ['303 true', '400 false', '400 false'])
  }
  assert.deepEqual(logged, [])
})

test('an address that was taken off an app between consent and code gets no code', async () => {
  const { sql } = house.database
  const { browser, onward } = await allowed()
  await sql`update oauth_clients set redirect_uris = '{https://new.example/}' where client_id = ${NATIVE.client_id}`
  const refused = await browser.go(onward)
  await sql`update oauth_clients set redirect_uris = ${NATIVE.redirect_uris} where client_id = ${NATIVE.client_id}`
  assert.deepEqual([refused.status, refused.headers.location], [403, undefined])
  assert.match(refused.text, /not registered for this app any more/)
})

test('a role given or taken between sign-in and consent lets no app in by the sign-in of before', async () => {
  const who = await house.member('raised@example.com')
  const { browser, page } = await atSignIn()
  const asked = await signIn(browser, page, 'raised@example.com')
  assert.match(asked.text, /<h1>Allow/)
  await house.database.sql`update users set role = 'support' where id = ${who.id}`
  const answer = await browser.submit(asked, '/consent', { decision: 'allow' })
  assert.equal(answer.status, 403)
  const sessions = await house.database.sql`select from sessions where user_id = ${who.id} and kind = 'oauth'`
  assert.equal(sessions.count, 0)
})

test('a page cannot be taken out of order', async () => {
  const { browser, page } = await atSignIn()
  const action = /action="([^"]*\/login)"/.exec(page.text)?.[1] ?? ''
  const csrf = /name="csrf" value="([^"]*)"/.exec(page.text)?.[1] ?? ''
  const early = await browser.submit(
    {
      ...page,
      text: `<form method="post" action="${action.replace('/login', '/consent')}"><input type="hidden" name="csrf" value="${csrf}"></form>`,
    },
    '/consent',
    { decision: 'allow' },
  )
  assert.equal(early.status, 403)
})

test('before app and address are proven a fault is a page, never a redirect', async () => {
  const evil = encodeURIComponent('https://evil.example/')
  const loopback = (port: string) => encodeURIComponent(`http://127.0.0.1${port}/callback`)
  for (const query of [
    '',
    `client_id=nobody&redirect_uri=${evil}`,
    `client_id=${NATIVE.client_id}`,
    `client_id=${NATIVE.client_id}&redirect_uri=${evil}&response_type=code`,
    QUERY.replace(encodeURIComponent(REDIRECT), loopback(':0')),
    QUERY.replace(encodeURIComponent(REDIRECT), loopback(':')),
    QUERY.replace(encodeURIComponent(REDIRECT), loopback(':053311')),
    QUERY.replace(encodeURIComponent(REDIRECT), encodeURIComponent('http://localhost:53311/callback')),
    `${QUERY}&redirect_uri=${evil}`,
    `${QUERY}&state=a&state=b`,
    `${QUERY}&client_id=${NATIVE.client_id}`,
    `${QUERY}&state=${'x'.repeat(9_000)}`,
  ]) {
    const answer = await house.app.inject(authorizeUrl(query))
    assert.equal(answer.statusCode, 400, query.slice(0, 200))
    assert.equal(answer.headers.location, undefined)
    assert.match(answer.body, /^<!doctype html>/)
    assert.match(String(answer.headers['content-security-policy']), /frame-ancestors 'none'/)
  }
  const unknown = await house.app.inject(authorizeUrl(`${QUERY}&unheard_of=1`))
  assert.equal(unknown.statusCode, 303, 'unknown parameters are ignored')
})

test('addresses come from PUBLIC_URL whatever Host and forwarding headers say', async () => {
  const lies = {
    host: 'evil.example',
    'x-forwarded-host': 'evil.example',
    'x-forwarded-proto': 'https',
    forwarded: 'host=evil.example',
  }
  for (const name of ['openid-configuration', 'oauth-authorization-server']) {
    const { body, statusCode } = await house.app.inject({ url: `/.well-known/${name}?x=1`, headers: lies })
    assert.equal(statusCode, 200)
    assert.doesNotMatch(body, /evil/)
    for (const [, address] of body.matchAll(/"(http[^"]*)"/g)) assert.ok(address?.startsWith(PUBLIC_URL), address)
  }
  const begun = await house.app.inject({ url: authorizeUrl(QUERY), headers: lies })
  assert.equal(begun.statusCode, 303)
  assert.doesNotMatch(JSON.stringify(begun.headers), /evil/)
  const device = await house.app.inject({
    method: 'POST',
    url: '/oauth/device_authorization',
    headers: { ...lies, 'content-type': 'application/x-www-form-urlencoded' },
    payload: 'client_id=tv-app',
  })
  assert.equal(device.json<{ verification_uri: string }>().verification_uri, `${PUBLIC_URL}/oauth/device`)
  const browser = new Browser(house, lies)
  const { page } = await atSignIn({}, browser)
  const back = await allow(browser, await signIn(browser, page, 'ada@example.com'))
  assert.ok(back.url.startsWith(`${REDIRECT}?code=`))
})

test('an address that was taken off an app while a page is open gets no code', async () => {
  const { sql } = house.database
  const { browser, page } = await atSignIn()
  const asked = await signIn(browser, page, 'ada@example.com')
  await sql`update oauth_clients set redirect_uris = '{https://new.example/}' where client_id = ${NATIVE.client_id}`
  for (const decision of ['allow', 'deny']) {
    const refused = await browser.submit(asked, '/consent', { decision })
    assert.deepEqual([refused.status, refused.headers.location], [403, undefined])
    assert.match(refused.text, /not registered for this app any more/)
  }
  await sql`update oauth_clients set redirect_uris = ${NATIVE.redirect_uris} where client_id = ${NATIVE.client_id}`
  assert.match((await allow(browser, asked)).url, /[?&]code=/)
})

test('what there is not, and wrong methods, are told as RFC 6749 says, below /oauth and /.well-known', async () => {
  for (const [method, url, status, allow] of [
    ['GET', '/oauth/token', 405, 'POST'],
    ['OPTIONS', '/oauth/token', 405, 'POST'],
    ['DELETE', '/oauth/authorize', 405, 'GET'],
    ['PUT', '/oauth/jwks', 405, 'GET, HEAD'],
    ['POST', '/.well-known/openid-configuration', 405, 'GET, HEAD'],
    ['GET', '/oauth/nothing', 404, undefined],
    ['POST', '/oauth/', 404, undefined],
    ['GET', '/oauth/nothing/below', 404, undefined],
    ['GET', '/.well-known/nothing', 404, undefined],
    ['GET', '/oauth/%zz', 400, undefined],
    ['POST', '/oauth/token/%c0%af', 400, undefined],
    ['GET', '/.well-known/%zz?x=%zz', 400, undefined],
  ] as const) {
    const answer = await house.app.inject({ method, url })
    assert.deepEqual([answer.statusCode, answer.headers.allow], [status, allow], `${method} ${url}`)
    const { error, error_description } = answer.json<{ error: unknown; error_description: unknown }>()
    assert.deepEqual([error, typeof error_description], ['invalid_request', 'string'], `${method} ${url}`)
    assert.ok(answer.headers['x-request-id'])
  }
  for (const url of ['/.well-known/openid-configuration', '/.well-known/oauth-authorization-server', '/oauth/jwks']) {
    const answer = await house.app.inject({ url, headers: { 'x-api-version': '2' } })
    assert.deepEqual([answer.statusCode, answer.json<{ error: unknown }>().error], [400, 'invalid_request'], url)
  }
  const elsewhere = await house.app.inject({ method: 'PUT', url: '/oauthx' })
  assert.equal(elsewhere.json<{ error: { code: string } }>().error.code, 'NOT_FOUND')
})

test('no origin is allowed that is not in CORS_ORIGINS', async () => {
  for (const url of ['/oauth/token', '/.well-known/openid-configuration', '/oauth/jwks']) {
    const answer = await house.app.inject({
      method: url === '/oauth/token' ? 'POST' : 'GET',
      url,
      headers: {
        origin: 'https://evil.example',
        ...(url === '/oauth/token' ? { 'content-type': 'application/x-www-form-urlencoded' } : {}),
      },
      ...(url === '/oauth/token' ? { payload: 'grant_type=refresh_token' } : {}),
    })
    assert.equal(answer.headers['access-control-allow-origin'], undefined, url)
  }
})
