import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseConfig, publicKeyOf } from '@prime-vpn/wireguard'
import { aDevice, aServer, aUser, house, houseWithServer, publicKey } from './testing/house.ts'

const code = (answer: { body: { error?: { code: string } } }) => answer.body.error?.code

test('without a key we make one: the conf holds it, and the tables do not', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  const { status, body } = await h.call('POST', '/vpn/connect', user, {})
  assert.equal(status, 201)
  const conf = parseConfig(body.wg_config)
  const secret = conf.privateKey ?? ''
  const [row] =
    await h.sql`select client_public_key, host(client_ip) as ip from connections where id = ${body.connection_id}`
  assert.equal(row?.client_public_key, publicKeyOf(secret))
  assert.equal(body.assigned_ip, row?.ip)
  const [{ text } = { text: '' }] = await h.owner<{ text: string }[]>`
    select (select string_agg(c::text, '') from connections c) || (select string_agg(l::text, '') from leases l)
        || (select string_agg(k::text, '') from wireguard_keys k) as text`
  for (const hidden of [secret, body.preshared_key]) {
    assert.ok(!text.includes(hidden))
    assert.ok(!text.includes(Buffer.from(hidden, 'base64').toString('hex')))
  }
})

test('the answer and its conf are what the contract says', async (t) => {
  const h = await houseWithServer(t)
  const { body } = await h.call('POST', '/connection/connect?location=de', await aUser(h.sql))
  const { body: again } = await h.call('GET', '/connection/status', await aUser(h.sql))
  assert.deepEqual(again, { connections: [] })
  assert.deepEqual(Object.keys(body).toSorted(), [
    'allowed_ips', 'assigned_ip', 'assigned_ipv6', 'connection_id', 'dns', 'expires_at', 'mtu', 'preshared_key', 'server',
    'server_endpoint', 'server_public_key', 'started_at', 'status', 'wg_config',
  ]) // prettier-ignore
  assert.equal(body.status, 'active')
  assert.equal(body.server.id, h.server)
  assert.equal(body.expires_at, null)
  const lines = body.wg_config.split('\n')
  for (const line of [
    `Address = ${body.assigned_ip}/32, ${body.assigned_ipv6}/128`,
    'DNS = 1.1.1.1, 1.0.0.1',
    'MTU = 1420',
    `PublicKey = ${body.server_public_key}`,
    `PresharedKey = ${body.preshared_key}`,
    `Endpoint = ${body.server.ip_address}:51820`,
    'AllowedIPs = 0.0.0.0/0, ::/0',
    'PersistentKeepalive = 25',
  ])
    assert.ok(lines.includes(line), line)
  assert.ok(!/PostUp|SaveConfig/.test(body.wg_config))
})

test('a device connects with its stored key, and the conf leaves the private key to it', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  const key = publicKey()
  const device_id = await aDevice(h.sql, user, key)
  const { status, body } = await h.call('POST', '/vpn/connect', user, { device_id })
  assert.equal(status, 201)
  assert.match(body.wg_config, /^# PrivateKey = \(the key on your device\)$/m)
  const rows = await h.sql`select client_public_key, device_id from connections`
  assert.deepEqual([...rows], [{ client_public_key: key, device_id }])
  const [device] = await h.sql`select last_connected_at from devices where id = ${device_id}`
  assert.ok(device?.last_connected_at instanceof Date)
})

test('the key rules: no key, another key, a foreign device, a foreign key', async (t) => {
  const h = await houseWithServer(t)
  const [user, other] = [await aUser(h.sql, 'premium_monthly'), await aUser(h.sql)]
  const bare = await aDevice(h.sql, user, null)
  const keyed = await aDevice(h.sql, user)
  const foreignKey = publicKey()
  const foreign = await aDevice(h.sql, other, foreignKey)
  const ask = async (body: object) => {
    const answer = await h.call('POST', '/vpn/connect', user, body)
    return [answer.status, code(answer)]
  }
  assert.deepEqual(await ask({ device_id: bare }), [409, 'CONFLICT'])
  assert.deepEqual(await ask({ device_id: bare, client_public_key: publicKey() }), [409, 'CONFLICT'])
  assert.deepEqual(await ask({ device_id: keyed, client_public_key: publicKey() }), [409, 'CONFLICT'])
  assert.deepEqual(await ask({ device_id: foreign }), [404, 'NOT_FOUND'])
  assert.deepEqual(await ask({ client_public_key: foreignKey }), [409, 'CONFLICT'])
  const [{ n } = { n: -1 }] = await h.sql<{ n: number }[]>`select count(*)::int as n from connections`
  assert.equal(n, 0)
})

test('a key alone is the device that has it, or a tunnel without device; it serves one account', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql, 'premium_monthly')
  const key = publicKey()
  const device = await aDevice(h.sql, user, key)
  const a = await h.call('POST', '/vpn/connect', user, { client_public_key: key })
  const loose = publicKey()
  const b = await h.call('POST', '/vpn/connect', user, { client_public_key: loose })
  const rows = await h.sql`select id, device_id from connections order by started_at`
  assert.deepEqual(
    [...rows],
    [
      { id: a.body.connection_id, device_id: device },
      { id: b.body.connection_id, device_id: null },
    ],
  )
  const again = await h.call('POST', '/vpn/connect', user, { client_public_key: loose })
  assert.equal(again.body.connection_id, b.body.connection_id, 'kept')
  assert.equal(again.body.preshared_key, b.body.preshared_key)
  await h.call('POST', `/vpn/disconnect/${b.body.connection_id}`, user)
  const stranger = await h.call('POST', '/vpn/connect', await aUser(h.sql), { client_public_key: loose })
  assert.deepEqual([stranger.status, code(stranger)], [409, 'CONFLICT'])
})

test('above the limit of the plan it is 403; a device that connects again is not above it', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  const device_id = await aDevice(h.sql, user)
  assert.equal((await h.call('POST', '/vpn/connect', user, { device_id })).status, 201)
  const second = await h.call('POST', '/vpn/connect', user, {})
  assert.deepEqual([second.status, code(second)], [403, 'CONNECTION_LIMIT_REACHED'])
  assert.equal((await h.call('POST', '/vpn/connect', user, { device_id })).status, 201)
})

test('servers: unknown 404, premium for a free plan 403, full 503', async (t) => {
  const h = await house(t)
  const tiny = await aServer(h.sql, { max: 1 })
  const premium = await aServer(h.sql, { tier: 'premium' })
  await h.fleet.refresh()
  const user = await aUser(h.sql)
  const ask = async (body: object, who = user) => {
    const answer = await h.call('POST', '/vpn/connect', who, body)
    return [answer.status, code(answer)]
  }
  assert.deepEqual(await ask({ server_id: '019c0000-0000-7000-8000-000000000001' }), [404, 'NOT_FOUND'])
  assert.deepEqual(await ask({ server_id: premium }), [403, 'SUBSCRIPTION_REQUIRED'])
  assert.deepEqual(await ask({ location: 'nowhere' }), [503, 'NO_SERVER_AVAILABLE'])
  assert.deepEqual(await ask({ server_id: tiny }), [201, undefined])
  assert.deepEqual(await ask({ server_id: tiny }, await aUser(h.sql)), [503, 'NO_SERVER_AVAILABLE'])
})

test('what is not built, unknown fields, odd keys and doubled names are 400, and the field is named', async (t) => {
  const h = await houseWithServer(t)
  const user = await aUser(h.sql)
  const field = async (body: unknown, query = '') => {
    const answer = await h.call('POST', `/vpn/connect${query}`, user, body)
    assert.equal(answer.status, 400, JSON.stringify(body))
    return answer.body.error.details[0].field
  }
  assert.equal(await field({ multihop_entry_id: h.server }), 'multihop_entry_id')
  assert.equal(await field({ post_quantum: true }), 'post_quantum')
  assert.equal(await field({ user_id: user }), 'user_id')
  assert.equal(await field({ device_id: 'x' }), 'device_id')
  assert.equal(await field({ location: 'a' }, '?location=b'), 'location')
  assert.equal(await field({ location: 'x\nPostUp = id' }), 'location')
  assert.equal(await field({}, '?server_id=1'), 'server_id')
  for (const key of [`${'A'.repeat(43)}=`, 'x', 5, `${publicKey()}\n`, publicKey().slice(0, -1)])
    assert.equal(await field({ client_public_key: key }), 'client_public_key')
})

test('an unverified address may not connect where verification is required', async (t) => {
  const h = await houseWithServer(t, { requireVerifiedEmail: true })
  const answer = await h.call('POST', '/vpn/connect', await aUser(h.sql), {}, { unverified: true })
  assert.deepEqual([answer.status, code(answer)], [403, 'EMAIL_NOT_VERIFIED'])
})

for (const mode of ['dead', 'broken'] as const) {
  test(`a node that is ${mode} gives 503, and nothing of the claim is left`, async (t) => {
    const h = await houseWithServer(t)
    h.node.mode = mode
    const user = await aUser(h.sql)
    const answer = await h.call('POST', '/vpn/connect', user, {})
    assert.deepEqual([answer.status, code(answer)], [503, 'UNAVAILABLE'])
    assert.equal((await h.sql`select from connections`).length, 0)
    const leases = await h.sql`select state, count(*)::int as n from leases group by state order by state`
    assert.deepEqual(
      [...leases],
      [
        { state: 'available', n: 250 },
        { state: 'clearing', n: 1 },
        { state: 'reserve', n: 750 },
      ],
    )
    h.node.mode = 'live'
    assert.equal((await h.call('POST', '/vpn/connect', user, {})).status, 201)
  })
}
