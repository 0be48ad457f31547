import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import WebSocket from 'ws'
import { startServer } from '../apps/server/src/index.ts'
import { FakeNode, newIdentity } from '../apps/server/src/node-link/testing/fake-node.ts'
import { aServer, until } from '../apps/server/src/node-link/testing/fleet-of-one.ts'
import { freshDatabase, temporaryFolder } from '../apps/server/src/platform/testing/index.ts'

/** Somewhere outside the countries allowed here. */
const ELSEWHERE = '8.8.8.8'

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** The whole server behind a proxy that names every caller, with one enrolled node. */
async function house(t: TestContext, env: Record<string, string> = {}) {
  const { url, ownerUrl, sql } = await freshDatabase(t)
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
  const serverId = await aServer(sql)
  const identity = newIdentity(serverId)
  await sql`insert into nodes (id, server_id, identity_key, backend, agent_version)
            values (${identity.nodeId}, ${serverId}, ${identity.identityKey}, 'kernel', '1.0.0')`
  await sql`update vpn_servers set public_key = ${`${'N'.repeat(42)}A=`} where id = ${serverId}`
  const [row] = await sql<{ id: string }[]>`select id from installation`
  const linkUrl = `${server.url.replace('http', 'ws')}/api/v1/node/link`
  return {
    sql,
    url: server.url,
    serverId,
    linkUrl,
    identity,
    /** A node that dials from this address. */
    node(from: string): FakeNode {
      const node = new FakeNode(linkUrl, identity, row?.id ?? '', { 'x-forwarded-for': from })
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
