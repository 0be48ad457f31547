import assert from 'node:assert/strict'
import { after, before, test, type TestContext } from 'node:test'
import type { Connection, User } from './api.ts'
import { addDevice, keyPair, stream, withKey, type Stream } from './key-rotation-device.ts'
import { eventually } from './node-agent-process.ts'
import { HOST, World, type Customer } from './world.ts'

/**
 * From a handshake to the end it brings: the node reports it within 1 s, that is written within 2 s, upkeep looks each
 * second; what else runs on the machine may delay each.
 */
const HANDSHAKE_ENDS_MS = 6_000
/** From an end in the database to the node: a second, and what else runs on the machine. */
const END_MS = 2_000
const DAY_MS = 86_400_000

type RotatedDevice = { public_key: string; ip_address: string; next_rotation_at: string; connection: Connection }
type Keys = ReturnType<typeof keyPair>

let world: World
let customers = 0

before(async () => {
  world = new World()
  await world.startServer()
  await world.joinNode()
})
after(() => world.close())

/** The device with another of its keys: a machine of its own, so that both can try at once. */
function machine(conf: string, { privateKey }: Keys): Customer {
  const customer = world.customer(++customers)
  customer.up(withKey(conf, privateKey))
  return customer
}

type Device = { id: string; user: User; first: Keys; connection: Connection; old: Customer; flow: Stream }

/** A device whose tunnel carries packets all the time. */
async function device(t: TestContext): Promise<Device> {
  const [user, first] = [await world.api.user(), keyPair()]
  const id = await addDevice(world, user, first.publicKey)
  const connection = await user.connect({ device_id: id })
  const old = machine(connection.wg_config, first)
  const flow = stream(world, old, connection)
  t.after(() => flow.stop())
  await carries(flow, 'the first key')
  return { id, user, first, connection, old, flow }
}

async function rotate({ id, user }: Device): Promise<{ keys: Keys; answer: RotatedDevice }> {
  const keys = keyPair()
  const answer = await world.api.call<RotatedDevice>('PUT', `/users/me/devices/${id}/key`, user.token, {
    public_key: keys.publicKey,
  })
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  return { keys, answer: answer.body }
}

async function carries(flow: Stream, whose: string): Promise<void> {
  const before = flow.carried()
  await eventually(`${whose} carries packets`, () => flow.carried() >= before + 5)
}

/** Packets go on leaving the device; none of them comes out of the tunnel. */
async function carriesNothing(flow: Stream): Promise<void> {
  const [sent, carried] = [flow.sent(), flow.carried()]
  await eventually('the device still sends', () => flow.sent() >= sent + 10)
  assert.equal(flow.carried() - carried, 0, 'packets of the old key')
}

const peersAre = (...keys: Keys[]): void =>
  assert.deepEqual([...world.peers().keys()].toSorted(), keys.map((k) => k.publicKey).toSorted())

test('the old key of a device carries packets until the first handshake of the newest one, then not one more', async (t) => {
  const it = await device(t)
  const { first, flow } = it

  const { keys: second, answer } = await rotate(it)
  const days = (Date.parse(answer.next_rotation_at) - Date.now()) / DAY_MS
  assert.ok(days > 6.9 && days <= 7, `${days}`)
  assert.equal(answer.public_key, second.publicKey)
  assert.equal(answer.ip_address, answer.connection.assigned_ip)
  assert.notEqual(answer.connection.assigned_ip, it.connection.assigned_ip)
  peersAre(first, second)
  await carries(flow, 'the old key, while a new one waits,')

  const { keys: third, answer: again } = await rotate(it)
  assert.equal(again.connection.assigned_ip, answer.connection.assigned_ip)
  peersAre(first, third)
  await carries(flow, 'the old key, while another new one waits,')

  assert.equal(machine(answer.connection.wg_config, second).pings(HOST), false, 'the replaced key')
  await carries(flow, 'the old key, after the replaced one was tried,')
  peersAre(first, third)

  const fresh = machine(again.connection.wg_config, third)
  await eventually('the new key carries packets', () => fresh.pings(HOST))
  await eventually('the old peer is gone', () => !world.peers().has(first.publicKey), HANDSHAKE_ENDS_MS)
  await carriesNothing(flow)
  assert.ok(fresh.pings(HOST))
  peersAre(third)
  const connections = (await it.user.status()).map((c) => c.connection_id)
  assert.deepEqual(connections, [again.connection.connection_id])
})

test('deleting a device while its new key waits ends both of its tunnels at once', async (t) => {
  const it = await device(t)
  const { answer, keys } = await rotate(it)
  await carries(it.flow, 'the old key')
  const others = [...world.peers().keys()].filter((key) => key !== it.first.publicKey && key !== keys.publicKey)

  await world.api.must('DELETE', `/users/me/devices/${it.id}`, it.user.token)
  await eventually('the node holds neither peer', () => world.peers().size === others.length, END_MS)
  await carriesNothing(it.flow)
  assert.equal(machine(answer.connection.wg_config, keys).pings(HOST), false, 'the key that waited')
  assert.deepEqual(await it.user.status(), [])
  assert.deepEqual([...world.peers().keys()], others, 'the tunnels of others')
})
