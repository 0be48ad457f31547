import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { parseConfig } from '@prime-vpn/wireguard'
import { codeAt } from '../apps/server/src/auth/testing/authenticator.ts'
import { defer, freshDatabase } from '../apps/server/src/platform/testing/index.ts'
import { eventually } from './node-agent-process.ts'
import { HOST, World } from './world.ts'

/** Every secret that is handed out or kept in the session of use below, by what it is. */
const secrets = new Map<string, string>()
/** What tells who was where: no secret, but nothing a log may hold. */
const traces = new Map<string, string>()
const PASSWORD = 'a pass phrase that is looked for'
const email = 'looked-for@example.com'

const scope = { after }
const database = await freshDatabase(scope)
let world: World
let token = ''
let secretTotp = ''
let usedTotp = ''

const post = <T>(path: string, body?: unknown, as = token) => world.api.must<T>('POST', path, as, body)
const status = async (path: string, body?: unknown, as?: string): Promise<number> =>
  (await world.api.call('POST', path, as, body)).status
const keep = (what: string, secret: string): string => {
  assert.ok(secret.length >= 6, `${what} is there`)
  secrets.set(what, secret)
  return secret
}

/** The token and the code of the newest mail with this subject. */
async function mailed(subject: string): Promise<{ token: string; code: string }> {
  let text = ''
  await eventually(`a mail: ${subject}`, async () => {
    const { data } = await world.api.admin<{ data: { subject: string; text: string }[] }>('GET', `/admin/mail-outbox?to=${email}`) // prettier-ignore
    text = data.find((mail) => mail.subject.startsWith(subject))?.text ?? ''
    return text !== ''
  })
  return { token: /token=([\w-]{43})$/m.exec(text)?.[1] ?? '', code: /^(\d{6})$/m.exec(text)?.[1] ?? '' }
}

/** Signs in, connects in every way there is, downloads, sets up a factor, resets the password. */
async function useEverything(): Promise<void> {
  keep('the password', PASSWORD)
  await post('/auth/register', { email, password: PASSWORD }, '')
  const verify = await mailed('Confirm your e-mail address')
  keep('the verification link', verify.token)
  await post('/auth/verify-email', { token: verify.token }, '')
  const signedIn = await post<{ access_token: string; refresh_token: string }>('/auth/login', { email, password: PASSWORD }, '') // prettier-ignore
  token = keep('the access token', signedIn.access_token)
  const refreshed = await post<{ access_token: string; refresh_token: string }>('/auth/refresh', { refresh_token: keep('the used refresh token', signedIn.refresh_token) }, '') // prettier-ignore
  token = keep('the second access token', refreshed.access_token)
  keep('the refresh token', refreshed.refresh_token)
  keep('the ticket', (await post<{ ticket: string }>('/ws/ticket')).ticket)

  const device = await post<{ id: string }>('/users/me/devices', { name: 'Laptop', platform: 'linux' })
  const { url } = await post<{ url: string }>(`/users/me/devices/${device.id}/subscription-url`, {})
  const path = new URL(url).pathname
  keep('the subscription token', path.slice('/sub/'.length))
  const conf = await (await fetch(world.api.base + path)).text()
  keepConf('of the subscription', conf)
  const made = await post<{ config: string }>(`/users/me/devices/${device.id}/config`, {})
  keepConf('of the device', made.config)
  const customer = world.customer(1)
  customer.up(made.config)
  assert.equal(customer.download(100_000), 100_000)
  traces.set('the address of the customer', '203.0.113.101')
  traces.set('the IPv6 address of the customer', '2001:db8:9::101')
  traces.set('where the customer went', HOST)
  traces.set('the public key of the customer', customerKey())
  customer.down()
  await post('/vpn/disconnect', {})
  const connected = await post<{ wg_config: string }>('/vpn/connect', {})
  keepConf('of a connect', connected.wg_config)

  secretTotp = keep('the seed', (await post<{ secret: string }>('/auth/2fa/setup', {})).secret)
  usedTotp = codeAt(secretTotp)
  const { recovery_codes } = await post<{ recovery_codes: string[] }>('/auth/2fa/enable', { code: usedTotp })
  recovery_codes.forEach((code, n) => keep(`recovery code ${n}`, code))
  await post('/auth/forgot-password', { email }, '')
  keep('the reset link', (await mailed('Choose a new password')).token)
}

const customerKey = (): string => [...world.peers().keys()][0] ?? ''

function keepConf(whose: string, text: string): void {
  const conf = parseConfig(text)
  keep(`the private key ${whose}`, conf.privateKey ?? '')
  keep(`the preshared key ${whose}`, conf.presharedKey ?? '')
}

before(async () => {
  world = new World()
  await world.startServer({
    DATABASE_URL: database.url,
    MIGRATE_DATABASE_URL: database.ownerUrl,
    LOG_LEVEL: 'trace',
  })
  await world.joinNode()
  await world.startWeb()
  await useEverything()
  const mine = JSON.parse(readFileSync(join(world.folder, 'data/secrets.json'), 'utf8')) as Record<string, { key?: string; private_jwk?: { d: string } }[]> // prettier-ignore
  for (const [kind, keys] of Object.entries(mine))
    keep(`the ${kind} key`, keys[0]?.key ?? keys[0]?.private_jwk?.d ?? '')
  const identity = JSON.parse(readFileSync(join(world.folder, 'node/identity.json'), 'utf8')) as Record<string, string>
  for (const name of ['wireguard_key', 'identity_key']) keep(`the node's ${name}`, identity[name] ?? '')
})
defer(scope, () => world.close())

/** How a text may stand in a dump: itself, its bytes in hex, and what it is the base64 of in hex. */
const spellings = (secret: string): string[] => {
  const decoded = Buffer.from(secret, 'base64')
  return [secret, Buffer.from(secret).toString('hex'), ...(decoded.length >= 16 ? [decoded.toString('hex')] : [])]
}

test('after a session of use no row of the database holds a secret that was handed out, in any spelling', async () => {
  const tables = await database.owner<{ name: string }[]>`
    select format('%I.%I', table_schema, table_name) as name from information_schema.tables
     where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')`
  assert.ok(tables.length > 25)
  const rows: string[] = []
  for (const { name } of tables) {
    const [schema = '', table = ''] = name.split('.')
    const found = await database.owner<{ text: string }[]>`
      select t::text as text from ${database.owner(`${schema}.${table}`)} t`
    rows.push(...found.map(({ text }) => `${name} ${text}`))
  }
  for (const known of [email, traces.get('the public key of the customer') ?? '-'])
    assert.ok(
      rows.some((row) => row.includes(known)),
      'what is no secret is found',
    )
  const found = [...secrets].flatMap(([what, secret]) =>
    rows.filter((row) => spellings(secret).some((s) => row.includes(s))).map((row) => `${what}: ${row.slice(0, 40)}`),
  )
  assert.deepEqual(found, [])
  for (const what of ['the address of the customer', 'the IPv6 address of the customer', 'where the customer went'])
    assert.ok(
      rows.every((row) => !row.includes(traces.get(what) ?? '-')),
      what,
    )
})

test('the logs of server and node at their finest hold no secret and nothing of who was where', () => {
  const logs = [world.serverSaid(), world.agentSaid()]
  assert.match(logs[0] ?? '', /"route":"\/api\/v1\/vpn\/connect"/)
  assert.ok((logs[1] ?? '').length > 100, logs[1])
  const found = [...secrets, ...traces].filter(([, text]) => logs.some((log) => log.includes(text)))
  assert.deepEqual(found.map(([what]) => what), []) // prettier-ignore
  assert.ok(logs.every((log) => !log.includes(email)))
})

test('the data folder of the server holds its keys in one closed file and no other secret', () => {
  const folder = join(world.folder, 'data')
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  assert.ok(files.length > 0)
  for (const { parentPath, name } of files) {
    if (name === 'secrets.json') continue
    const text = readFileSync(join(parentPath, name), 'latin1')
    for (const [what, secret] of secrets) assert.ok(!text.includes(secret), `${what} in ${name}`)
  }
  assert.ok(existsSync(join(folder, 'secrets.json')))
})

test('what was used once stays used after the server was killed', async () => {
  await post('/auth/reset-password', { token: secrets.get('the reset link'), password: 'another fine pass phrase' }, '')
  const recovery = secrets.get('recovery code 0') ?? ''
  const login = (totp: string): Promise<number> => status('/auth/login', { email, password: 'another fine pass phrase', totp }) // prettier-ignore
  assert.equal(await login(recovery), 200)
  await world.killServer()
  await world.startServer({ DATABASE_URL: database.url, MIGRATE_DATABASE_URL: database.ownerUrl, LOG_LEVEL: 'trace' })
  assert.equal(await login(recovery), 401, 'a recovery code')
  assert.equal(await login(usedTotp), 401, 'a TOTP code')
  for (const [what, path, body] of [
    ['the used refresh token', '/auth/refresh', (secret: string) => ({ refresh_token: secret })],
    ['the refresh token', '/auth/refresh', (secret: string) => ({ refresh_token: secret })],
    ['the verification link', '/auth/verify-email', (secret: string) => ({ token: secret })],
    [
      'the reset link',
      '/auth/reset-password',
      (secret: string) => ({ token: secret, password: 'a third pass phrase' }),
    ],
  ] as const) {
    const answer = await status(path, body(secrets.get(what) ?? ''))
    assert.ok([400, 401].includes(answer), `${what}: ${answer}`)
  }
  assert.equal(
    await status('/vpn/connect', {}, secrets.get('the second access token')),
    401,
    'a token of an ended session',
  )
  const sub = await fetch(`${world.api.base}/sub/${secrets.get('the subscription token')}`)
  assert.equal(sub.status, 404, 'a subscription URL from before the reset')
})
