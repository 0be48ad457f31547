import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseConfig, publicKeyOf } from '@prime-vpn/wireguard'
import decodeQR from 'qr/decode.js'
import encodeQR from 'qr'
import { endTunnelsOf } from './access-end.ts'
import { filenameOf } from './device-config.ts'
import { aDevice, aUser, heldUp, houseWithServer, publicKey, type House } from './testing/house.ts'

const NO_KEY = '# PrivateKey = (the key on your device)'
const privateKeyIn = (conf: string): string => /^PrivateKey = (\S+)$/m.exec(conf)?.[1] ?? ''

async function withDevice(h: House, key: string | null = publicKey()) {
  const user = await aUser(h.sql)
  const device = await aDevice(h.sql, user, key)
  const at = `/users/me/devices/${device}`
  return { user, device, at }
}

test('a conf made for a device holds the private key of the device’s new public key, this once', async (t) => {
  const h = await houseWithServer(t)
  const { user, device, at } = await withDevice(h)
  const { status, body } = await h.call('POST', `${at}/config`, user, { server_id: h.server })
  assert.equal(status, 201)
  const secret = privateKeyIn(body.config)
  const [row] = await h.sql<{ public_key: string }[]>`select public_key from devices where id = ${device}`
  assert.equal(publicKeyOf(secret), row?.public_key)
  assert.doesNotThrow(() => parseConfig(body.config))
  assert.equal(body.filename, 'prime-laptop.conf')
  assert.match(body.qr, /^data:image\/svg\+xml;base64,/)
  const later = await h.call('GET', `${at}/config`, user)
  assert.equal(later.status, 200)
  assert.equal(later.body, body.config.replace(/^PrivateKey = .*$/m, NO_KEY))
  assert.equal(later.headers['content-disposition'], 'attachment; filename="prime-laptop.conf"')
  assert.equal(later.headers['cache-control'], 'no-store')
  const qr = await h.call('GET', `${at}/qr`, user)
  assert.equal(qr.headers['content-type'], 'image/svg+xml')
  assert.match(qr.body, /^<svg/)
  const dump = JSON.stringify(
    [
      await h.owner`select * from devices`,
      await h.owner`select * from leases where state = 'held'`,
      await h.owner`select * from connections`,
      await h.owner`select * from idempotency_marks`,
    ],
    (_name, value: unknown) => (typeof value === 'bigint' ? String(value) : value),
  )
  assert.ok(!dump.includes(secret))
})

test('the picture holds the whole conf', async (t) => {
  const h = await houseWithServer(t)
  const { user, at } = await withDevice(h)
  const { body } = await h.call('POST', `${at}/config`, user, {})
  const bits = encodeQR(body.config, 'raw', { ecc: 'low', border: 4 })
  const [scale, size] = [4, bits.length * 4]
  const data = new Uint8ClampedArray(size * size * 4)
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++)
      data.set(
        bits[Math.floor(y / scale)]?.[Math.floor(x / scale)] ? [0, 0, 0, 255] : [255, 255, 255, 255],
        (y * size + x) * 4,
      )
  assert.equal(decodeQR({ width: size, height: size, data }), body.config)
})

test('without a tunnel there is no conf to show: 409; a foreign device is 404', async (t) => {
  const h = await houseWithServer(t)
  const { user, at } = await withDevice(h)
  for (const what of ['config', 'qr']) {
    assert.equal((await h.call('GET', `${at}/${what}`, user)).status, 409)
    assert.equal((await h.call('GET', `${at}/${what}`, await aUser(h.sql))).status, 404)
  }
  const stranger = await aUser(h.sql)
  assert.equal((await h.call('POST', `${at}/config`, stranger, {})).status, 404)
  assert.equal((await h.call('POST', `${at}/subscription-url`, stranger, {})).status, 404)
  assert.equal((await h.call('DELETE', `${at}/subscription-url`, stranger)).status, 404)
})

test('a refused or unconfirmed conf leaves the device its key', async (t) => {
  const h = await houseWithServer(t)
  const key = publicKey()
  const { user, device, at } = await withDevice(h, key)
  const present = async () => (await h.sql`select public_key from devices where id = ${device}`)[0]?.public_key
  h.node.mode = 'broken'
  assert.equal((await h.call('POST', `${at}/config`, user, {})).status, 503)
  assert.equal(await present(), key)
  assert.equal((await h.call('POST', `${at}/config`, user, { location: 'nowhere' })).status, 503)
  assert.equal(await present(), key)
  h.node.mode = 'live'
  assert.equal((await h.call('POST', '/vpn/connect', user, {})).status, 201)
  assert.equal((await h.call('POST', `${at}/config`, user, {})).body.error.code, 'CONNECTION_LIMIT_REACHED')
  assert.equal(await present(), key)
})

test('a subscription URL gives the conf of the present tunnel, as often as asked', async (t) => {
  const h = await houseWithServer(t)
  const { user, device, at } = await withDevice(h)
  const made = await h.call('POST', `${at}/subscription-url`, user, {})
  assert.equal(made.status, 201)
  assert.match(made.body.url, /^https:\/\/vpn\.example\.com\/sub\/psu_[\w-]{43}$/)
  const path = new URL(made.body.url as string).pathname
  const first = await h.call('GET', path, null)
  assert.equal(first.status, 200)
  assert.equal(first.headers['content-type'], 'text/plain; charset=utf-8')
  assert.equal(first.headers['cache-control'], 'no-store')
  assert.equal(first.headers['referrer-policy'], 'no-referrer')
  const secret = privateKeyIn(first.body)
  const [row] = await h.sql<{ public_key: string }[]>`select public_key from devices where id = ${device}`
  assert.equal(publicKeyOf(secret), row?.public_key)
  assert.deepEqual((await h.call('GET', path, null)).body, first.body)

  const token = path.slice('/sub/'.length)
  const dump = JSON.stringify(
    await h.owner`select encode(token_hash, 'escape') as h, encode(private_key, 'escape') as k, * from device_subscriptions`,
  )
  assert.ok(!dump.includes(secret) && !dump.includes(token))
  const moved = await h.call('POST', '/vpn/connect', user, { device_id: device })
  assert.equal(moved.status, 201)
  assert.equal(privateKeyIn((await h.call('GET', path, null)).body), secret)
  await h.call('POST', '/vpn/disconnect', user, {})
  assert.equal((await h.call('GET', path, null)).status, 409)
})

test('cut, extended, unknown and revoked addresses are 404', async (t) => {
  const h = await houseWithServer(t)
  const { user, at } = await withDevice(h)
  const made = await h.call('POST', `${at}/subscription-url`, user, {})
  const path = new URL(made.body.url as string).pathname
  for (const other of [
    path.slice(0, -1),
    `${path}A`,
    `${path.slice(0, -1)}${path.endsWith('A') ? 'Q' : 'A'}`,
    '/sub/x',
    `/sub/${'x'.repeat(300)}`,
  ])
    assert.equal((await h.call('GET', other, null)).status, 404, other)
  assert.equal((await h.call('DELETE', `${at}/subscription-url`, user)).status, 204)
  assert.equal((await h.call('GET', path, null)).status, 404)
  assert.equal((await h.call('DELETE', `${at}/subscription-url`, user)).status, 404)
})

test('a new address, a new conf, a new key, deactivation, a password reset and erasure revoke it', async (t) => {
  const h = await houseWithServer(t)
  const revoking: Record<string, (user: string, at: string) => Promise<unknown>> = {
    url: (user, at) => h.call('POST', `${at}/subscription-url`, user, {}),
    config: (user, at) => h.call('POST', `${at}/config`, user, {}),
    key: (user, at) => h.call('PUT', `${at}/key`, user, { public_key: publicKey() }),
    inactive: (user) => h.sql`update users set is_active = false where id = ${user}`.execute(),
    deactivated: (user) => h.sql.begin((tx) => endTunnelsOf(tx, user, 'deactivated')),
    reset: (user) => h.sql.begin((tx) => endTunnelsOf(tx, user, 'password_reset')),
    erasure: (user) => h.sql`delete from users where id = ${user}`.execute(),
  }
  for (const [how, revoke] of Object.entries(revoking)) {
    const { user, at } = await withDevice(h)
    const made = await h.call('POST', `${at}/subscription-url`, user, {})
    const path = new URL(made.body.url as string).pathname
    assert.equal((await h.call('GET', path, null)).status, 200, how)
    await revoke(user, at)
    assert.equal((await h.call('GET', path, null)).status, 404, how)
  }
})

test('the present key, brought again, revokes it too', async (t) => {
  const h = await houseWithServer(t)
  const { user, device, at } = await withDevice(h)
  const made = await h.call('POST', `${at}/subscription-url`, user, {})
  const [row] = await h.sql<{ public_key: string }[]>`select public_key from devices where id = ${device}`
  assert.equal((await h.call('PUT', `${at}/key`, user, row)).status, 200)
  assert.equal((await h.call('GET', new URL(made.body.url as string).pathname, null)).status, 404)
})

test('an address that is being made while all of the account are revoked is revoked with them', async (t) => {
  const h = await houseWithServer(t)
  const key = publicKey()
  const { user, device, at } = await withDevice(h, key)
  const making = await heldUp(h, () => h.call('POST', `${at}/subscription-url`, user, {}))
  await h.sql.begin((tx) => endTunnelsOf(tx, user, 'password_reset'))
  assert.equal((await making('live')).status, 409)
  assert.equal((await h.sql`select from device_subscriptions`).count, 0)
  assert.equal((await h.sql`select from devices where id = ${device} and public_key = ${key}`).count, 1)
  assert.equal((await h.sql`select from connections where status = 'connected'`).count, 0)
})

test('a new address that does not come leaves the old one as it was', async (t) => {
  const h = await houseWithServer(t)
  const { user, at } = await withDevice(h)
  const made = await h.call('POST', `${at}/subscription-url`, user, {})
  const path = new URL(made.body.url as string).pathname
  const conf = (await h.call('GET', path, null)).body
  for (const what of ['subscription-url', 'config']) {
    const making = await heldUp(h, () => h.call('POST', `${at}/${what}`, user, {}))
    assert.equal((await making('timeout')).status, 503)
    assert.equal((await h.call('GET', path, null)).body, conf)
  }
  assert.equal((await h.sql`select from device_subscriptions`).count, 1)
})

test('file names are ours: whatever the device is called', () => {
  assert.equal(filenameOf('"; filename=x.exe'), 'prime-filenamex.conf')
  assert.equal(filenameOf('a\r\nSet-Cookie: x'), 'prime-asetcooki.conf')
  assert.equal(filenameOf('\u202egpj.exe'), 'prime-gpjexe.conf')
  assert.equal(filenameOf('電話'), 'prime-vpn.conf')
  assert.equal(filenameOf('Télé 📺'), 'prime-tele.conf')
})
