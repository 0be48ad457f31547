import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { HOST, World } from './world.ts'

let world: World

before(() => {
  world = new World()
})
after(() => world.close())

/** A customer joins whose port on the outer network has this hardware address. */
function join(n: number, address: string): void {
  world.customer(n)
  world.outside.ip('link', 'set', `v${100 + n}`, 'address', address)
}

test('the node reaches the outside also after customers joined whose ports have lower hardware addresses', () => {
  const reaches = (): boolean => world.node.does('ping', '-q', '-c', '1', '-W', '1', HOST)
  // The first takes the lowest place from the node's own port: frames to that port's address arrive in any case.
  join(1, '02:00:00:00:00:02')
  assert.ok(reaches())
  join(2, '02:00:00:00:00:01')
  assert.ok(reaches())
})
