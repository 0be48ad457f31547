import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { WebSocket } from 'ws'
import { Upgrades } from '../platform/http/index.ts'
import { createLog } from '../platform/log.ts'
import { defer } from '../platform/testing/index.ts'
import { parseNetwork } from './address/address.ts'
import { protectedApp, type Kit } from './testing/kit.ts'

type Sockets = Kit & { open(path: string, token?: string, headers?: Record<string, string>): Promise<Opened> }
type Opened = { status: number; headers: Record<string, unknown>; code?: string }

async function sockets(t: TestContext, env: Record<string, string> = {}, PUBLIC_URL?: string): Promise<Sockets> {
  const kit = await protectedApp(t, { env: { IP_RATE_LIMIT: '1000', DDOS_THRESHOLD: '5000', ...env } })
  const config = { ALLOWED_HOSTS: [], CORS_ORIGINS: [], PUBLIC_URL }
  const { protectUpgrade, arrivesByHttps } = kit.protection
  const upgrades = new Upgrades(config, createLog('silent'), protectUpgrade, arrivesByHttps)
  const handle = {
    maxPayload: 1_024,
    handle: async (_: unknown, accept: () => Promise<WebSocket>) => void (await accept()),
  }
  upgrades.add({ ...handle, path: '/api/v1/ws/connection/:user_id' })
  upgrades.add({ ...handle, path: '/api/v1/node/link', rule: 'NODE_LINK' })
  upgrades.attach(kit.app.server)
  await kit.app.listen({ host: '127.0.0.1', port: 0 })
  defer(t, () => upgrades.close())
  const { port } = kit.app.server.address() as AddressInfo
  return {
    ...kit,
    async open(path, token, more = {}) {
      const headers = token ? { ...more, authorization: `Bearer ${token}` } : more
      const ws = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers })
      ws.on('error', () => undefined)
      let headers101 = {}
      ws.on('upgrade', (res: IncomingMessage) => (headers101 = res.headers))
      const opened = once(ws, 'open').then((): Opened => ({ status: 101, headers: headers101 }))
      const refused = once(ws, 'unexpected-response').then(async (args): Promise<Opened> => {
        const res = args[1] as NodeJS.ReadableStream & { statusCode: number; headers: Record<string, unknown> }
        let text = ''
        for await (const chunk of res) text += String(chunk)
        const { error } = JSON.parse(text) as { error: { code: string } }
        return { status: res.statusCode, headers: res.headers, code: error.code }
      })
      const answer = await Promise.race([opened, refused])
      ws.terminate()
      return answer
    },
  }
}

test('opens are limited by user; the refusal is the contract’s answer before the upgrade', async (t) => {
  const { open } = await sockets(t)
  const first = await open('/ws/connection/u', 'user-1')
  assert.deepEqual([first.status, first.headers['x-ratelimit-remaining']], [101, '6'])
  for (let i = 0; i < 6; i++) assert.equal((await open('/ws/connection/u', 'user-1')).status, 101)
  const refused = await open('/ws/connection/u', 'user-1')
  assert.deepEqual([refused.status, refused.code], [429, 'RATE_LIMITED'])
  assert.equal(refused.headers['x-ratelimit-limit'], '7')
  assert.equal(refused.headers['retry-after'], refused.headers['x-ratelimit-reset'])
  assert.equal((await open('/ws/connection/u', 'user-2')).status, 101)
})

test('in the clear no socket opens where our address is https; only a trusted proxy can say how the caller came', async (t) => {
  const saying = (proto: string) => ({ 'x-forwarded-proto': proto, 'x-forwarded-for': '198.51.100.7' })
  const plain = await sockets(t, {}, 'https://vpn.example')
  for (const headers of [{}, saying('https')]) {
    const refused = await plain.open('/ws/connection/u', 'user-1', headers)
    assert.deepEqual([refused.status, refused.code], [403, 'FORBIDDEN'])
  }
  const behind = await sockets(t, { TRUSTED_PROXIES: '127.0.0.1' }, 'https://vpn.example')
  assert.equal((await behind.open('/ws/connection/u', 'user-1', saying('https'))).status, 101)
  assert.equal((await behind.open('/ws/connection/u', 'user-1', saying('http'))).status, 403)
  assert.equal((await behind.open('/ws/connection/u', 'user-1')).status, 403)
})

test('a path without a socket counts as an unknown route', async (t) => {
  const { open, protection } = await sockets(t)
  const refused = await open('/ws/nowhere')
  assert.deepEqual([refused.status, refused.headers['x-ratelimit-remaining']], [404, '79'])
  assert.equal(protection.state.suspicion.counted.get('unknown-route'), 1)
})

test('who floods a node’s link is banned; a page of another site cannot have its visitor banned; a node there still comes to its proof', async (t) => {
  const { open, protection, send } = await sockets(t, { DDOS_THRESHOLD: '100', TRUSTED_PROXIES: '127.0.0.1' })
  const from = (address: string, more = {}) => open('/node/link', undefined, { 'x-forwarded-for': address, ...more })
  const elsewhere = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'websocket', origin: 'https://evil.example' }
  for (let i = 0; i < 110; i++) assert.equal((await from('198.51.100.8', elsewhere)).status, 403)
  assert.equal((await from('198.51.100.8')).status, 101)
  for (let i = 0; i < 99; i++) assert.equal((await from('198.51.100.7')).status, 101)
  assert.equal((await from('198.51.100.7')).code, 'IP_BANNED')
  assert.equal((await send({ url: '/plans', remoteAddress: '198.51.100.7' })).code, 'IP_BANNED')
  assert.equal(protection.state.bans.size, 1)
  for (let i = 0; i < 20; i++) assert.equal((await from('198.51.100.7')).status, 101, 'its proof may decide')
  assert.equal((await from('198.51.100.7')).code, 'IP_BANNED')
})

test('a node’s link has no limit, and comes to its proof under a ban that came by itself, which strangers hardly can use', async (t) => {
  const { open, protection, clock } = await sockets(t)
  for (let i = 0; i < 100; i++) assert.equal((await open('/node/link')).status, 101)
  const network = parseNetwork('127.0.0.1')
  assert.ok(network)
  protection.state.bans.apply({ network, leftMs: 600_000, byStaff: false })
  assert.equal((await open('/ws/connection/u', 'user-1')).code, 'IP_BANNED')
  for (let i = 0; i < 20; i++) assert.equal((await open('/node/link')).status, 101)
  assert.equal((await open('/node/link')).code, 'IP_BANNED')
  clock.now += 120_000
  assert.equal((await open('/node/link')).status, 101)
  protection.state.bans.apply({ network, leftMs: 60_000, byStaff: true })
  assert.equal((await open('/node/link')).code, 'IP_BANNED')
})

test('a node behind a proxy that is not configured comes to its proof while everybody there is paused', async (t) => {
  const { open, clock } = await sockets(t, { DDOS_THRESHOLD: '100' })
  const via = (path: string) => open(path, 'user-1', { 'x-forwarded-for': '198.51.100.7' })
  const flood = async () => {
    for (let i = 0; i < 100; i++) await via('/ws/nowhere')
    const paused = await via('/ws/nowhere')
    assert.deepEqual([paused.code, paused.headers['retry-after']], ['RATE_LIMITED', '60'])
  }
  await flood()
  for (let i = 0; i < 100; i++) assert.equal((await via('/ws/nowhere')).code, 'RATE_LIMITED')
  for (let i = 0; i < 20; i++) assert.equal((await via('/node/link')).status, 101)
  assert.equal((await via('/node/link')).code, 'RATE_LIMITED', 'strangers get few tries')
  clock.now += 120_000
  assert.equal((await via('/node/link')).status, 101)
})

test('a caller is named by its address or /64, its /48, and whether nodes of ours call from there', async (t) => {
  const { protection } = await protectedApp(t, { fleet: () => ['2001:db8:7:1::1'] })
  const named = (remoteAddress: string) =>
    protection.callerOf({ headers: {}, rawHeaders: [], socket: { remoteAddress } } as unknown as IncomingMessage)
  const one = named('2001:db8:1::1')
  assert.deepEqual(named('2001:db8:1:0:5:6:7:8'), one)
  const near = named('2001:db8:1:2::1')
  assert.notEqual(near.address, one.address)
  assert.equal(near.network, one.network)
  assert.notEqual(named('2001:db8:2::1').network, one.network)
  assert.deepEqual(named('::ffff:192.0.2.1'), named('192.0.2.1'))
  assert.deepEqual([named('192.0.2.1').network, one.ours, named('2001:db8:7:1::2').ours], [null, false, true])
})
