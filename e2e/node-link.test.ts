import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { test, type TestContext } from 'node:test'
import { generateKeyPair } from '@prime-vpn/wireguard'
import WebSocket from 'ws'
import { startServer } from '../apps/server/src/index.ts'
import { FakeNode, newIdentity, type Identity } from '../apps/server/src/node-link/testing/fake-node.ts'
import { aServer, until } from '../apps/server/src/node-link/testing/fleet-of-one.ts'
import type { Sql } from '../apps/server/src/platform/db/index.ts'
import { freshDatabase, temporaryFolder } from '../apps/server/src/platform/testing/index.ts'
import { freePort } from '../apps/server/src/platform/free-port.ts'

const LATELY: Seen = { address: '203.0.113.10', exit: '203.0.113.11', secondsAgo: 540 }
const LONG_AGO: Seen = { address: '203.0.113.20', exit: '203.0.113.21', secondsAgo: 660 }
/** Somewhere outside the countries allowed here. */
const ELSEWHERE = '8.8.8.8'

/** An address of its own for each node that was seen so long ago, and one that it reported. */
type Seen = { address: string; exit: string; secondsAgo: number }

async function aSeenNode(sql: Sql, { address, exit, secondsAgo }: Seen): Promise<Identity> {
  const serverId = await aServer(sql)
  const identity = newIdentity(serverId)
  await sql`update vpn_servers set ip_address = ${address} where id = ${serverId}`
  await sql`insert into nodes (id, server_id, identity_key, backend, agent_version, exit_addresses, last_seen_at)
            values (${identity.nodeId}, ${serverId}, ${identity.identityKey}, 'kernel', '1.0.0', array[${exit}]::inet[],
                    clock_timestamp() - make_interval(secs => ${secondsAgo}))`
  return identity
}

/** The whole server behind a proxy that names every caller, with nodes that were there before it. */
async function house(t: TestContext, env: Record<string, string> = {}) {
  const { url, ownerUrl, sql } = await freshDatabase(t)
  const identity = await aSeenNode(sql, LATELY)
  const returning = await aSeenNode(sql, LONG_AGO)
  const server = await startServer({
    DATABASE_URL: url,
    MIGRATE_DATABASE_URL: ownerUrl,
    DATA_DIR: await temporaryFolder(t),
    PORT: String(await freePort()),
    LOG_LEVEL: 'silent',
    TRUSTED_PROXIES: '127.0.0.1',
    ...env,
  })
  t.after(() => server.stop())
  const [row] = await sql<{ id: string }[]>`select id from installation`
  const linkUrl = `${server.url.replace('http', 'ws')}/api/v1/node/link`
  return {
    sql,
    url: server.url,
    linkUrl,
    identity,
    /** The node seen lately, or the other, dials from this address. */
    node(from: string, who: 'lately' | 'long ago' = 'lately'): FakeNode {
      const node = new FakeNode(linkUrl, who === 'lately' ? identity : returning, row?.id ?? '', {
        'x-forwarded-for': from,
      })
      t.after(() => node.kill())
      node.start()
      return node
    },
  }
}

/** Opens a socket and closes it again. @returns the status of the handshake */
async function openFrom(linkUrl: string, from: string): Promise<number> {
  const ws = new WebSocket(linkUrl, { headers: { 'x-forwarded-for': from } })
  ws.on('error', () => undefined)
  const status = await Promise.race([
    once(ws, 'open').then(() => 101),
    once(ws, 'unexpected-response').then(([, res]) => (res as { statusCode: number }).statusCode),
  ])
  if (status === 101) {
    ws.close()
    await once(ws, 'close')
  } else ws.terminate()
  return status
}

test('strangers behind the proxy of everybody keep no node out', async (t) => {
  const { linkUrl, node } = await house(t)
  for (let i = 0; i < 16; i++) {
    const stranger = new WebSocket(linkUrl, { headers: { 'x-forwarded-for': '198.51.100.7' } })
    t.after(() => stranger.terminate())
    stranger.on('error', () => undefined)
    await once(stranger, 'open')
  }
  assert.equal(await openFrom(linkUrl, '198.51.100.7'), 503)
  const linked = node('203.0.113.10')
  await until('it is welcomed', () => linked.welcomed, 3_000)
})

test('a node’s link counts against no limit and obeys no country rule, however often it is opened', async (t) => {
  const { linkUrl, node } = await house(t, { GEO_ALLOW_COUNTRIES: 'DE' })
  for (let i = 0; i < 120; i++) assert.equal(await openFrom(linkUrl, ELSEWHERE), 101, `open ${i}`)
  const linked = node(ELSEWHERE)
  await until('it is welcomed', () => linked.welcomed)
})

test('a node enrols from a country that customers may not call from', async (t) => {
  const { url, sql } = await house(t, { GEO_ALLOW_COUNTRIES: 'DE' })
  const serverId = await aServer(sql)
  const token = 'a token of sixteen characters or more'
  await sql`insert into enrollment_tokens (server_id, hash, expires_at)
            values (${serverId}, ${createHash('sha256').update(token).digest()}, now() + interval '1 hour')`
  const post = async (path: string, body: object) =>
    fetch(`${url}/api/v1${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-forwarded-for': ELSEWHERE },
      body: JSON.stringify(body),
    })
  const keys = { public_key: generateKeyPair().publicKey, identity_key: randomBytes(32).toString('base64') }
  const enrolled = await post('/node/enroll', { token, ...keys, agent_version: '1.0.0', backend: 'kernel' })
  assert.equal(enrolled.status, 200, await enrolled.text())
  assert.equal((await post('/auth/login', { email: 'a@example.com', password: 'x' })).status, 403)
})

test('a node that was long away comes back from an address that was banned, and its customers with it', async (t) => {
  const { url, sql, node } = await house(t)
  await sql`insert into bans (network, id, reason, kind, until)
            values (${LONG_AGO.address}, gen_random_uuid(), 'too many requests', 'automatic', now() + interval '1 hour')`
  const status = async () =>
    (await fetch(`${url}/api/v1/servers`, { headers: { 'x-forwarded-for': LONG_AGO.address } })).status
  await until('the ban holds', async () => (await status()) === 429)
  const linked = node(LONG_AGO.address, 'long ago')
  await until('it is welcomed', () => linked.welcomed)
  await until('its customers are heard again', async () => (await status()) === 401, 15_000)
})

test('calls from where a node’s customers come out count by user, for ten minutes after its link was up', async (t) => {
  const { url } = await house(t, { IP_RATE_LIMIT: '12' })
  const post = (path: string, from: string, body: object) =>
    fetch(`${url}/api/v1${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-forwarded-for': from },
      body: JSON.stringify(body),
    })
  const tokens: string[] = []
  for (const n of [1, 2, 3]) {
    const account = { email: `customer-${n}@example.com`, password: 'a long enough passphrase' }
    await post('/auth/register', `198.51.100.${n}`, account)
    const answer = await post('/auth/login', `198.51.100.${n}`, account)
    tokens.push(((await answer.json()) as { access_token: string }).access_token)
  }
  /** How many of thirty calls, ten of each customer, were refused. */
  const refusedFrom = async (from: string): Promise<number> => {
    const statuses: number[] = []
    for (const token of Array.from({ length: 10 }, () => tokens).flat()) {
      const headers = { authorization: `Bearer ${token}`, 'x-forwarded-for': from }
      statuses.push((await fetch(`${url}/api/v1/users/me`, { headers })).status)
    }
    assert.deepEqual(
      statuses.filter((status) => status !== 429 && status !== 200),
      [],
    )
    return statuses.filter((status) => status === 429).length
  }
  assert.equal(await refusedFrom(LATELY.address), 0)
  assert.equal(await refusedFrom(LATELY.exit), 0)
  assert.equal(await refusedFrom(LONG_AGO.exit), 18)
})

test('a node’s word on where its customers come out is kept, but not that they come from within', async (t) => {
  const { sql, identity, node } = await house(t)
  const linked = node(LATELY.address)
  await until('it is welcomed', () => linked.welcomed)
  linked.step({ type: 'exits', addresses: ['127.0.0.1', '10.0.0.9', '203.0.113.12', '2001:db8::12'] })
  const told = async () => {
    const [row] = await sql<{ exits: string }[]>`
      select exit_addresses::text as exits from nodes where id = ${identity.nodeId}`
    return row?.exits === '{203.0.113.12,2001:db8::12}'
  }
  await until('it is stored with the next sign of life', told, 15_000)
})
