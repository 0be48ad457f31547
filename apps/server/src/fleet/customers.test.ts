import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { freshDatabase } from '../platform/testing/index.ts'
import { aUser, connect, CUSTOMER, enrolledServer, house, liveServer } from './testing/fixtures.ts'

const { sql } = await freshDatabase({ after })
const h = await house({ after }, sql)
const get = (url: string) => h.call('GET', url, undefined, CUSTOMER)

const germany = await liveServer(h, {
  hostname: 'de-1.vpn.example',
  max_connections: 4,
  latitude: 52.5,
  longitude: 13.4,
  streaming_services: ['netflix'],
})
const usa = await liveServer(h, {
  hostname: 'us-1.vpn.example',
  country: 'United States',
  country_code: 'US',
  city: 'New York',
  location: 'East',
  tier: 'premium',
  features: ['obfuscation'],
})
const away = await enrolledServer(h, {
  hostname: 'at-1.vpn.example',
  country: 'Austria',
  country_code: 'AT',
  city: 'Wien',
  location: 'Wien',
})
await connect(sql, await aUser(sql), [germany.serverId])
await h.fleet.recordHealth([{ nodeId: germany.nodeId, linkId: germany.linkId, pingMs: 12.34 }])
await h.fleet.refresh()

const names: Record<string, string> = { [germany.serverId]: 'de', [usa.serverId]: 'us', [away.serverId]: 'at' }
const listed = async (query: string): Promise<string[]> => {
  const { status, body } = await get(`/servers${query}`)
  assert.equal(status, 200, query)
  return body.servers.map((server: { id: string }) => names[server.id])
}

test('a server is shown as the contract says and as nothing more', async () => {
  const { body } = await get(`/servers/${germany.serverId}`)
  const { public_key, endpoint, ip_address, ...rest } = body
  assert.match(public_key, /^[A-Za-z0-9+/]{43}=$/)
  assert.match(endpoint, /:51820$/)
  assert.match(ip_address, /^192\.0\.2\./)
  assert.deepEqual(rest, {
    id: germany.serverId,
    hostname: 'de-1.vpn.example',
    country: 'Germany',
    country_code: 'DE',
    city: 'Berlin',
    location: 'Berlin-1',
    latitude: 52.5,
    longitude: 13.4,
    protocols: ['wireguard'],
    status: 'operational',
    tier: 'free',
    premium: false,
    load: 25,
    ping: 12.3,
    bandwidth: { download: null, upload: null },
    streaming_services: ['netflix'],
    features: [],
  })
})

test('each filter keeps what it names, in any case', async () => {
  const filters: Record<string, string[]> = {
    '': ['at', 'de', 'us'],
    '?country=us': ['us'],
    '?country=GERMANY': ['de'],
    '?country=New York': [],
    '?city=new%20york': ['us'],
    '?location=de': ['de'],
    '?location=BERLIN': ['de'],
    '?location=east': ['us'],
    '?protocol=wireguard': ['at', 'de', 'us'],
    '?protocol=openvpn': [],
    '?streaming=true': ['de'],
    '?streaming=false': ['at', 'us'],
    '?feature=obfuscation': ['us'],
    '?feature=teleport': [],
    '?tier=premium': ['us'],
    '?status=active': ['de', 'us'],
    '?status=operational': ['de', 'us'],
    '?status=offline': ['at'],
    '?status=maintenance': [],
    '?country=de&tier=premium': [],
  }
  for (const [query, expected] of Object.entries(filters)) assert.deepEqual(await listed(query), expected, query)
})

test('the list is sorted by load or ping, unknown pings last both ways, and paged', async () => {
  assert.deepEqual(await listed('?sort=load'), ['at', 'us', 'de'])
  assert.deepEqual(await listed('?sort=-load'), ['de', 'at', 'us'])
  assert.equal((await listed('?sort=ping'))[0], 'de')
  assert.equal((await listed('?sort=-ping'))[0], 'de')
  assert.deepEqual(await listed('?sort=-country'), ['us', 'de', 'at'])
  const { body } = await get('/servers?sort=load&per_page=2&page=2')
  assert.deepEqual([body.total, body.page, body.per_page, body.servers.length], [3, 2, 2, 1])
  assert.match(body.links.prev, /^\/api\/v1\/servers\?sort=load&per_page=2&page=1$/)
  assert.equal(body.links.next, null)
})

test('unknown fields and values outside a list are refused by name', async () => {
  for (const query of [
    '?sort=id',
    '?sort=load;drop',
    '?tier=gold',
    '?status=up',
    '?streaming=1',
    '?page=0',
    '?per_page=101',
    '?x=1',
    '?country=',
  ]) {
    const { status, body } = await get(`/servers${query}`)
    assert.equal(status, 400, query)
    assert.match(query, new RegExp(body.error.details[0].field))
  }
})

test('`/vpn/servers` is the same list', async () => {
  assert.deepEqual((await get('/vpn/servers?sort=load')).body.servers, (await get('/servers?sort=load')).body.servers)
})

test('recommended are those that take a tunnel now, best first, within the plan', async () => {
  const { body } = await get('/servers/recommended')
  assert.deepEqual(
    body.servers.map((s: { id: string }) => names[s.id]),
    ['us', 'de'],
  )
  assert.deepEqual(body.servers[1].score, { load: 25, ping: 12.3, distance: null, total: 75.0801 })
  const free = await h.app.inject({
    url: '/api/v1/servers/recommended',
    headers: { 'x-may': CUSTOMER, 'x-tier': 'free' },
  })
  assert.deepEqual(
    free.json().servers.map((s: { id: string }) => names[s.id]),
    ['de'],
  )
  assert.equal((await get('/servers/recommended?location=us&feature=obfuscation')).body.servers.length, 1)
  assert.equal((await get('/servers/recommended?location=us&feature=x')).body.servers.length, 0)
  assert.equal((await get('/servers/recommended?tier=free')).status, 400)
})

test('nobody sees the fleet without signing in', async () => {
  for (const url of [
    '/servers',
    '/servers/recommended',
    `/servers/${usa.serverId}`,
    '/vpn/servers',
    '/analytics/locations',
  ])
    assert.equal((await h.call('GET', url, undefined, null)).status, 401, url)
})

test('analytics tell status, load and places of the servers customers may know of', async () => {
  const status = (await get('/analytics/servers/status?per_page=1')).body
  assert.deepEqual(status.summary, { operational: 2, maintenance: 0, offline: 1, total: 3 })
  assert.equal(status.data.length, 1)
  const load = (await get('/analytics/servers/load')).body
  assert.deepEqual([load.data[0].server_id, load.data[0].load, load.average_load], [germany.serverId, 25, 12.5])
  const places = (await get('/analytics/locations')).body
  assert.deepEqual(
    places.data.map((p: { city: string }) => p.city),
    ['Wien', 'Berlin', 'New York'],
  )
  assert.deepEqual(places.data[1].servers, { operational: 1, maintenance: 0, offline: 0 })
})
