import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { has } from '../scripts/test/tools.ts'
import type { User } from './api.ts'
import { Authenticator, Browser, type HeldPasskey, type Page, type Said } from './passkey-browser.ts'
import { World } from './world.ts'

const OURS = 'http://localhost:8000'
/** The same domain, so that the browser itself lets a page there use our passkeys: only the server can tell. */
const FOREIGN = 'http://localhost:8001'
const skip = has('chromium') ? false : 'needs chromium'

type SignedIn = { access_token?: string; user: { id: string } }
type Passkeys = { data: { id: string; name: string; last_used_at: string | null }[] }

let world: World | undefined
let browser: Browser | undefined
/** A tab on our origin, and one on the other. */
let ours: Page
let theirs: Page
const foreign = createServer((_req, res) => res.setHeader('content-type', 'text/html').end('<title>Prize</title>'))

async function tab(url: string): Promise<Page> {
  assert.ok(browser)
  const page = await browser.page()
  await page.open(url)
  return page
}

before(async () => {
  if (skip) return
  world = new World()
  browser = new Browser(join(world.folder, 'browser'))
  await once(foreign.listen(8001, '127.0.0.1'), 'listening')
  theirs = await tab(FOREIGN)
  await world.startServer({ PUBLIC_URL: OURS })
  ours = await tab(`${OURS}/docs`)
})
after(async () => {
  foreign.close()
  await browser?.close()
  await world?.close()
})

type Person = { user: User; phone: Authenticator }

/** Somebody before our page, with a phone that keeps passkeys. */
async function person(): Promise<Person> {
  assert.ok(world)
  return { user: await world.api.user(), phone: await Authenticator.in(ours) }
}

const creationOptions = async (user: User): Promise<object> => {
  const { status, body } = await ours.call<object>('POST', '/auth/passkeys/register/options', user.token, {})
  assert.equal(status, 200, JSON.stringify(body))
  return body
}
const register = (user: User, credential: object): Promise<Said<{ name: string }>> =>
  ours.call('POST', '/auth/passkeys/register/verify', user.token, { credential, name: 'My phone' })

const requestOptions = async (): Promise<object> =>
  (await ours.call<object>('POST', '/auth/passkeys/login/options', undefined, {})).body
const verify = (credential: object, query = ''): Promise<Said<SignedIn>> =>
  ours.call('POST', `/auth/passkeys/login/verify${query}`, undefined, { credential })
const signIn = async (query = ''): Promise<Said<SignedIn>> => verify(await ours.get(await requestOptions()), query)

async function withPasskey(): Promise<Person & { passkey: HeldPasskey }> {
  const { user, phone } = await person()
  const made = await register(user, await ours.create(await creationOptions(user)))
  assert.equal(made.status, 201, JSON.stringify(made.body))
  const [passkey] = await phone.held()
  assert.ok(passkey)
  return { user, phone, passkey }
}

test('a browser makes a passkey on our page and signs in with it, by token and by cookie', { skip }, async (t) => {
  const { user, passkey } = await withPasskey()
  assert.equal(passkey.rpId, 'localhost')
  assert.equal(Buffer.from(passkey.userHandle, 'base64').toString('hex'), user.id.replaceAll('-', ''))

  const byToken = await signIn()
  assert.equal(byToken.status, 200, JSON.stringify(byToken.body))
  const me = await ours.call<{ id: string }>('GET', '/users/me', byToken.body.access_token)
  assert.deepEqual([me.status, me.body.id], [200, user.id])
  const list = await ours.call<Passkeys>('GET', '/auth/passkeys', byToken.body.access_token)
  assert.deepEqual(list.body.data.map(({ name, last_used_at }) => [name, last_used_at !== null]), [['My phone', true]]) // prettier-ignore

  assert.equal((await ours.call('GET', '/users/me')).status, 401)
  t.after(() => ours.forgetCookies())
  const byCookie = await signIn('?session=cookie')
  assert.deepEqual([byCookie.status, byCookie.body.access_token], [200, undefined])
  const still = await ours.call<{ id: string }>('GET', '/users/me')
  assert.deepEqual([still.status, still.body.id], [200, user.id])
  assert.equal(await ours.run('() => document.cookie'), '', 'no script reads the cookie')
})

test(
  'a phone that has a passkey makes no second one for the account; a removed one signs nobody in',
  { skip },
  async () => {
    const { user } = await withPasskey()
    await assert.rejects(ours.create(await creationOptions(user)), /InvalidStateError/)
    const { body } = await ours.call<Passkeys>('GET', '/auth/passkeys', user.token)
    await world?.api.must('DELETE', `/auth/passkeys/${body.data[0]?.id}`, user.token)
    assert.equal((await signIn()).status, 401)
  },
)

test('a copy of a passkey, whose count went back, does not sign in; the original goes on', { skip }, async () => {
  const { phone, passkey: copy } = await withPasskey()
  for (const _ of [1, 2, 3]) assert.equal((await signIn()).status, 200)
  const [original] = await phone.held()
  assert.ok(original && original.signCount > copy.signCount, 'this phone counts')

  await phone.hold(copy)
  assert.equal((await signIn()).status, 401)
  await phone.hold({ ...original, signCount: original.signCount - 1 })
  assert.equal((await signIn()).status, 401, 'the same count again')
  await phone.hold(original)
  assert.equal((await signIn()).status, 200)
})

test('what a page of another origin had signed or made is refused', { skip }, async () => {
  const { passkey } = await withPasskey()
  const lured = await Authenticator.in(theirs)
  await lured.hold(passkey)
  assert.equal((await verify(await theirs.get(await requestOptions()))).status, 401)
  assert.equal((await signIn()).status, 200, 'the passkey itself is good')

  const { user } = await person()
  assert.equal((await register(user, await theirs.create(await creationOptions(user)))).status, 400)

  const elsewhere = await tab(FOREIGN.replace('localhost', '127.0.0.1'))
  await assert.rejects(elsewhere.get(await requestOptions()), /SecurityError/)
})

test('a phone that did not verify its user signs nobody in, whatever the page asked it for', { skip }, async () => {
  const { phone } = await withPasskey()
  await phone.verifiesUser(false)
  await assert.rejects(ours.get(await requestOptions()), /NotAllowedError/)
  const lax = { ...(await requestOptions()), userVerification: 'discouraged' }
  assert.equal((await verify(await ours.get(lax))).status, 401)
  await phone.verifiesUser(true)
  assert.equal((await signIn()).status, 200)
})
