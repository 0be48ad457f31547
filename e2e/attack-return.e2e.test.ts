import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { eventually } from './node-agent-process.ts'
import { HOST, World } from './world.ts'

let world: World
let serverId = ''

before(async () => {
  world = new World()
  await world.startServer()
  serverId = await world.joinNode()
  await world.startWeb()
})
after(() => world.close())

async function aTunnel(n: number) {
  const user = await world.api.user()
  const connection = await user.connect()
  const customer = world.customer(n)
  customer.up(connection.wg_config)
  assert.equal(customer.download(1_000), 1_000)
  return { user, connection, customer }
}

test('who was taken away while the node could not hear it stays out when everybody has been killed', async () => {
  const [alice, bob] = [await aTunnel(1), await aTunnel(2)]
  world.wire(false)
  await bob.user.disconnect(bob.connection.connection_id)
  await world.killAgent()
  await world.killServer()
  await world.startServer()
  world.restartAgent()
  world.wire(true)
  await world.operational(serverId)
  const address = `${bob.connection.assigned_ip}/32`
  await eventually('Bob is out', () => [...world.peers().values()].every((peer) => !peer.allowedIps.includes(address)), 15_000) // prettier-ignore
  assert.equal(bob.customer.download(1_000, HOST, 2), 0)
  assert.equal(alice.customer.download(1_000), 1_000)
})
