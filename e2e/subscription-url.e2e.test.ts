import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { addDevice, keyPair } from './key-rotation-device.ts'
import type { User } from './api.ts'
import { HOST, NODE_OUTER, sh, World, type Customer } from './world.ts'

const OURS = 'http://127.0.0.1:8000'
const KB = 1_000

let world: World
let customers = 0

before(async () => {
  world = new World()
  await world.startServer({ PUBLIC_URL: OURS })
  await world.joinNode()
  await world.startWeb()
})
after(() => world.close())

type Subscribed = { user: User; device: string; url: string }

const make = async (user: User, device: string): Promise<string> =>
  (await world.api.must<{ url: string }>('POST', `/users/me/devices/${device}/subscription-url`, user.token, {})).url

async function subscribed(): Promise<Subscribed> {
  const user = await world.api.user()
  const device = await addDevice(world, user)
  return { user, device, url: await make(user, device) }
}

type Fetched = { status: number; headers: string; body: string }

/** As a router's script fetches it. */
function curl(url: string): Fetched {
  const [headers = '', ...body] = sh('curl', '-s', '-i', '-m', '10', url).split('\r\n\r\n')
  return { status: Number(headers.split(' ')[1]), headers: headers.toLowerCase(), body: body.join('\r\n\r\n') }
}

/** The conf, unchanged, in the stock tools of a machine of its own. */
function machine(conf: string): Customer {
  const customer = world.customer(++customers)
  customer.up(conf)
  return customer
}

test('what the address gives is a conf that stock wg-quick brings up and that carries bytes', async () => {
  const { user, device, url } = await subscribed()
  assert.match(url, /^http:\/\/127\.0\.0\.1:8000\/sub\/psu_[\w-]{43}$/)
  const { status, headers, body } = curl(url)
  assert.equal(status, 200)
  assert.match(headers, /^content-type: text\/plain/m)
  assert.match(headers, /^cache-control: .*no-store/m)
  assert.match(headers, /^referrer-policy: no-referrer/m)

  const router = machine(body)
  assert.equal(router.download(200 * KB), 200 * KB)
  assert.equal(router.seenAs(), NODE_OUTER)
  assert.equal((await user.status()).length, 1)

  const peers = [...world.peers().keys()]
  assert.equal(curl(url).body, body, 'asking again changes nothing')
  assert.deepEqual([...world.peers().keys()], peers)
  assert.equal(curl(`${url.slice(0, -1)}${url.endsWith('A') ? 'B' : 'A'}`).status, 404)

  await world.api.must('DELETE', `/users/me/devices/${device}/subscription-url`, user.token)
  assert.equal(curl(url).status, 404)
  assert.ok(router.pings(HOST), 'the tunnel stays')
  assert.equal((await world.api.call('DELETE', `/users/me/devices/${device}/subscription-url`, user.token)).status, 404)
})

test('a new address ends the old one, and its conf is another tunnel of the same device', async () => {
  const { user, device, url: old } = await subscribed()
  const before = curl(old).body
  const url = await make(user, device)
  assert.equal(curl(old).status, 404)
  const { status, body } = curl(url)
  assert.equal(status, 200)
  assert.notEqual(body, before)
  const router = machine(body)
  assert.equal(router.download(20 * KB), 20 * KB)
  assert.equal((await user.status()).length, 1)
})

test('without a tunnel the address is 409; a key of its own, and the end of the device, revoke it', async () => {
  const { user, device, url } = await subscribed()
  const [tunnel] = await user.status()
  await user.disconnect(tunnel?.connection_id ?? '')
  assert.equal(curl(url).status, 409)
  await user.connect({ device_id: device })
  assert.equal(curl(url).status, 200)

  await world.api.must('PUT', `/users/me/devices/${device}/key`, user.token, { public_key: keyPair().publicKey })
  assert.equal(curl(url).status, 404)

  const again = await make(user, device)
  const router = machine(curl(again).body)
  assert.ok(router.pings(HOST))
  await world.api.must('DELETE', `/users/me/devices/${device}`, user.token)
  assert.equal(curl(again).status, 404)
  assert.equal(router.pings(HOST), false)
})
