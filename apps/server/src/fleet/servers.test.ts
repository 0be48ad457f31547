import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { canonicalCidr, overlaps, parseCidr } from '@prime-vpn/wireguard'
import { freshDatabase } from '../platform/testing/index.ts'
import { aServer, aUser, connect, CUSTOMER, enrolledServer, house, liveServer, STAFF } from './testing/fixtures.ts'

const { sql } = await freshDatabase({ after })
const h = await house({ after }, sql)
const { call } = h

test('a new server gets its subnets, its seats and stays hidden until a node is enrolled', async () => {
  const { status, body } = await call('POST', '/admin/servers', aServer({ bandwidth: { download: 1000 } }))
  assert.equal(status, 201)
  assert.equal(body.public_key, null)
  assert.equal(body.status, 'offline')
  assert.equal(body.enrolled, false)
  assert.equal(body.max_connections, 250)
  assert.deepEqual(body.bandwidth, { download: 1000, upload: null })
  assert.match(body.subnet_v4, /^10\.77\.\d+\.0\/23$/)
  assert.match(body.subnet_v6, /^fd[0-9a-f]{2}:.*\/64$/)
  const [leases] = await sql`
    select count(*)::int as all, count(*) filter (where state = 'available')::int as free from leases where server_id = ${body.id}`
  assert.deepEqual({ ...leases }, { all: 509, free: 250 })
  assert.equal((await call('GET', `/servers/${body.id}`, undefined, CUSTOMER)).status, 404)
  assert.equal((await call('GET', `/admin/servers/${body.id}`)).body.hostname, body.hostname)
})

test('servers added at the same moment never share a part of the address space', async () => {
  const answers = await Promise.all(Array.from({ length: 12 }, () => call('POST', '/admin/servers', aServer())))
  assert.deepEqual(new Set(answers.map((a) => a.status)), new Set([201]))
  const nets = answers.map((a) => parseCidr(a.body.subnet_v4))
  nets.forEach((net, i) => nets.slice(i + 1).forEach((other) => assert.equal(overlaps(net, other), false)))
})

test('explicit subnets are kept; one that overlaps, a taken hostname and too few addresses are refused', async () => {
  const first = aServer({ subnet_v4: '10.9.0.0/24', subnet_v6: 'fd00:9::/64', max_connections: 100 })
  const { status, body } = await call('POST', '/admin/servers', first)
  assert.equal(status, 201)
  assert.equal(canonicalCidr(body.subnet_v6), 'fd00:9::/64')
  const twins = [
    aServer({ subnet_v4: '10.9.0.128/25', max_connections: 50 }),
    aServer({ subnet_v6: 'fd00:9::/96' }),
    aServer({ hostname: first.hostname }),
  ]
  for (const twin of twins) assert.equal((await call('POST', '/admin/servers', twin)).status, 409)
  assert.equal((await call('POST', '/admin/servers', aServer({ subnet_v4: '10.10.0.0/29' }))).status, 400)
})

test('every field that a configuration or a page may show is judged', async () => {
  const hostile = ['\n', '\r', '\u2028', '\u0085', '\u202e', '\0', '\t']
  for (const field of ['hostname', 'country', 'country_code', 'city', 'location', 'endpoint', 'ip_address', 'tier']) {
    for (const sign of hostile) {
      const answer = await call('POST', '/admin/servers', aServer({ [field]: `a${sign}PostUp = id` }))
      assert.equal(answer.status, 400, `${field} with ${JSON.stringify(sign)}`)
    }
  }
  const wrong = {
    hostname: ['Upper.example', '-a.example', 'a..b', 'a_b', '', 'x'.repeat(64)],
    country_code: ['de', 'DEU', ''],
    city: ['', '   ', 'x'.repeat(101), 7],
    endpoint: [
      'host',
      'host:0',
      'host:65536',
      '2001:db8::1:51820',
      '[192.0.2.1]:1',
      '999.1.1.1:1',
      'a b:1',
      'h:1;id',
      '[fe80::1%eth0]:1',
    ],
    ip_address: [
      '192.0.2.256',
      '192.0.2.1/24',
      'fe80::1%eth0',
      '::ffff:192.0.2.1',
      'localhost',
      '0.0.0.0',
      '255.255.255.255',
      '224.0.0.1',
      '169.254.1.1',
      '::',
      'fe80::1',
      'ff02::1',
    ],
    features: [['Port'], ['a-b'], ['a', 'a'], 'a', ['a\nb']],
    streaming_services: [['net flix'], [1]],
    max_connections: [0, 65_001, 1.5, '250'],
    latitude: [91, '1'],
    subnet_v4: [
      '10.0.0.1/24',
      '10.0.0.0/8',
      '10.0.0.0/30',
      'fd00::/64',
      '10.0.0.0',
      '127.0.0.0/24',
      '0.1.0.0/16',
      '169.254.0.0/24',
      '224.1.0.0/16',
    ],
    subnet_v6: ['fd00::1/64', 'fd00::/112', '10.0.0.0/24', 'fd00::/32', '::/64', 'fe80::/64', 'ff02::/64'],
    tier: ['gold'],
    id: ['019c0000-0000-7000-8000-000000000002'],
    status: ['active'],
    public_key: ['x'],
  }
  for (const [field, values] of Object.entries(wrong)) {
    for (const value of values) {
      const answer = await call('POST', '/admin/servers', aServer({ [field]: value }))
      assert.equal(answer.status, 400, `${field} ${JSON.stringify(value)}`)
    }
  }
  const harmless = '; # [Peer] PostUp=x <b>"\' $(id) `id` --option %s'
  const kept = await call('POST', '/admin/servers', aServer({ city: harmless, location: harmless }))
  assert.equal(kept.status, 201)
  assert.equal(kept.body.city, harmless)
})

test('endpoints and addresses are stored in one spelling', async () => {
  const { body } = await call(
    'POST',
    '/admin/servers',
    aServer({ endpoint: '[2001:DB8:0::1]:51820', ip_address: '2001:DB8::0:1' }),
  )
  assert.equal(body.endpoint, '[2001:db8::1]:51820')
  assert.equal(body.ip_address, '2001:db8::1')
})

test('only those who may write change the fleet, only staff see all of it', async () => {
  const { body } = await call('POST', '/admin/servers', aServer())
  const one = `/admin/servers/${body.id}`
  const writes = [
    ['POST', '/admin/servers', aServer()],
    ['PUT', one, { city: 'Bonn' }],
    ['PATCH', one, { city: 'Bonn' }],
    ['DELETE', one],
    ['POST', `${one}/drain`],
    ['POST', `${one}/enrollment-token`],
    ['POST', `${one}/rotate-key`],
  ] as const
  for (const [method, url, payload] of writes) {
    assert.equal((await call(method, url, payload, CUSTOMER)).status, 403, `${method} ${url}`)
    assert.equal((await call(method, url, payload, 'servers:read servers:admin-read')).status, 403, `${method} ${url}`)
    assert.equal((await call(method, url, payload, null)).status, 401, `${method} ${url}`)
  }
  assert.equal((await call('GET', '/admin/servers', undefined, CUSTOMER)).status, 403)
  assert.equal((await call('GET', one, undefined, CUSTOMER)).status, 403)
  assert.equal((await call('GET', one)).body.city, 'Berlin')
})

test('an id that is malformed or unknown is not found, whatever is asked of it', async () => {
  for (const id of ['x', '1', '019c0000-0000-7000-8000-00000000000g', '019c0000-0000-7000-8000-0000000000aa']) {
    const one = `/admin/servers/${id}`
    const asks = [
      ['GET', one],
      ['PUT', one, { city: 'Bonn' }],
      ['PATCH', one, { city: 'Bonn' }],
      ['DELETE', one],
      ['POST', `${one}/drain`],
      ['POST', `${one}/enrollment-token`],
      ['POST', `${one}/rotate-key`],
      ['GET', `/servers/${id}`],
    ] as const
    for (const [method, url, payload] of asks)
      assert.equal((await call(method, url, payload)).status, 404, `${method} ${url}`)
  }
})

test('a change writes what is given, leaves the rest and is noted without its values', async () => {
  const { serverId } = await enrolledServer(h, { features: ['obfuscation'] })
  const change = { city: 'Bonn', tier: 'premium', bandwidth: { upload: 5 }, latitude: 50.7, longitude: 7.1 }
  const { status, body } = await call('PATCH', `/admin/servers/${serverId}`, change)
  assert.equal(status, 200)
  assert.deepEqual(
    [body.city, body.premium, body.bandwidth, body.latitude, body.features, body.country],
    ['Bonn', true, { download: null, upload: 5 }, 50.7, ['obfuscation'], 'Germany'],
  )
  const [entry] =
    await sql`select action, fields from audit_log where subject_id = ${serverId} order by id desc limit 1`
  assert.deepEqual(
    { action: entry?.action, fields: entry?.fields.toSorted() },
    { action: 'server.changed', fields: Object.keys(change).toSorted() },
  )
  assert.equal((await call('GET', `/servers/${serverId}`, undefined, CUSTOMER)).body.city, 'Bonn')
  assert.equal((await call('PATCH', `/admin/servers/${serverId}`, { subnet_v4: '10.1.0.0/24' })).status, 400)
  assert.equal((await call('PATCH', `/admin/servers/${serverId}`, { latitude: 1 })).status, 400)
  assert.equal((await call('PUT', `/admin/servers/${serverId}`, { city: null })).status, 400)
})

test('maintenance and draining are set and taken back; the link tells whether the server is there', async () => {
  const { serverId } = await liveServer(h)
  const one = `/admin/servers/${serverId}`
  assert.equal((await call('GET', one)).body.status, 'operational')
  assert.equal((await call('PATCH', one, { status: 'maintenance' })).body.status, 'maintenance')
  assert.equal((await call('PATCH', one, { status: 'active' })).body.status, 'offline')
  await h.fleet.settle()
  assert.equal((await call('GET', one)).body.status, 'operational')
  const drained = await call('POST', `${one}/drain`)
  assert.equal(drained.status, 202)
  assert.equal(drained.body.draining, true)
  assert.equal((await call('PATCH', one, { draining: false })).body.draining, false)
})

test('a smaller and a larger max_connections move the free seats; more than the subnet holds is refused', async () => {
  const { serverId } = await liveServer(h, { max_connections: 3 })
  const one = `/admin/servers/${serverId}`
  const outcomes = async (n: number) => {
    const users = await Promise.all(Array.from({ length: n }, () => aUser(sql)))
    return Promise.all(users.map(async (user) => (await connect(sql, user, [serverId])).outcome))
  }
  assert.deepEqual(await outcomes(2), ['connected', 'connected'])
  assert.equal((await call('PATCH', one, { max_connections: 2 })).body.room, 0)
  assert.deepEqual(await outcomes(1), ['full'])
  assert.equal((await call('PATCH', one, { max_connections: 4 })).body.room, 2)
  assert.deepEqual((await outcomes(3)).toSorted(), ['connected', 'connected', 'full'])
  assert.equal((await call('PATCH', one, { max_connections: 60_000 })).status, 400)
  assert.equal((await call('GET', one)).body.max_connections, 4)
})

test('a server with tunnels is deleted only after it was drained, and its tunnels end', async () => {
  const { serverId } = await enrolledServer(h)
  await sql`update vpn_servers set status = 'active' where id = ${serverId}`
  const { connection } = await connect(sql, await aUser(sql), [serverId])
  assert.equal((await call('DELETE', `/admin/servers/${serverId}`)).status, 409)
  await call('POST', `/admin/servers/${serverId}/drain`)
  const dismissed = new Promise((resolve) => void h.kv.subscribe('node-dismissed', resolve))
  const gone = await call('DELETE', `/admin/servers/${serverId}`)
  assert.equal(gone.status, 204)
  assert.equal(typeof (await dismissed), 'string')
  const [row] = await sql`select status, end_reason, server_id from connections where id = ${connection}`
  assert.deepEqual({ ...row }, { status: 'disconnected', end_reason: 'server_removed', server_id: null })
  assert.equal((await call('GET', `/servers/${serverId}`, undefined, CUSTOMER)).status, 404)
  assert.equal((await call('DELETE', `/admin/servers/${serverId}`)).status, 404)
})

test('a key rotation is asked of the node; without a node 409, without a link 503', async () => {
  const bare = await call('POST', '/admin/servers', aServer())
  assert.equal((await call('POST', `/admin/servers/${bare.body.id}/rotate-key`)).status, 409)
  const { serverId } = await enrolledServer(h)
  assert.equal((await call('POST', `/admin/servers/${serverId}/rotate-key`)).status, 202)
  assert.deepEqual(h.rotated.at(-1), serverId)
  h.linkUp.value = false
  assert.equal((await call('POST', `/admin/servers/${serverId}/rotate-key`)).status, 503)
  h.linkUp.value = true
})

test('staff page and search the fleet; signs of patterns mean themselves', async () => {
  await call('POST', '/admin/servers', aServer({ city: '100% sure_thing' }))
  const found = await call('GET', `/admin/servers?search=${encodeURIComponent('0% SURE_')}`)
  assert.equal(found.body.meta.total, 1)
  assert.equal((await call('GET', `/admin/servers?search=${encodeURIComponent('%%_%')}`)).body.meta.total, 0)
  const page = await call('GET', '/admin/servers?per_page=2&page=2&status=offline')
  assert.equal(page.body.data.length, 2)
  assert.match(page.body.links.next, /page=3/)
  assert.equal((await call('GET', '/admin/servers?sort=1')).status, 400)
})

test('a repeated request adds one server, also when the instance that began it died before it answered', async () => {
  const payload = aServer()
  const headers = { 'x-may': STAFF, 'idempotency-key': 'one-server-and-no-more' }
  const post = () => h.app.inject({ method: 'POST', url: '/api/v1/admin/servers', headers, payload })
  const first = await post()
  assert.equal(first.statusCode, 201)
  assert.deepEqual((await post()).json(), first.json())
  await sql`update idempotency_marks set status = null, answer = null, claimed_at = clock_timestamp() - interval '31 s'`
  const finished = await post()
  assert.equal(finished.statusCode, 201)
  assert.equal(finished.json().id, first.json().id)
})
