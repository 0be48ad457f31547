import assert from 'node:assert/strict'
import { test } from 'node:test'
import { scene } from './testing/device-scene.ts'
import { aServer, house, houseWithServer, publicKey } from './testing/house.ts'

test('a rotation that fails leaves alone what a later one was told', async (t) => {
  const h = await houseWithServer(t)
  const { old, pending, rotate, state } = await scene(h)
  const [second, third] = [publicKey(), publicKey()]
  const first = await pending(() => rotate(second))
  const told = await rotate(third)
  assert.equal(told.status, 200)
  assert.equal((await first('timeout')).status, 503)
  assert.deepEqual(await state(), {
    key: third,
    tunnels: [
      { key: old, counts: false },
      { key: third, counts: true },
    ],
  })
})

test('a rotation whose key another one replaced meanwhile does not say that it is the present one', async (t) => {
  const h = await houseWithServer(t)
  const { pending, rotate, state } = await scene(h)
  const third = publicKey()
  const first = await pending(() => rotate(publicKey()))
  assert.equal((await rotate(third)).status, 200)
  assert.equal((await first('live')).status, 409)
  assert.equal((await state()).key, third)
})

test('when two rotations fail the device has the key it had before both, in whichever order they end', async (t) => {
  for (const max of [250, 1]) {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      const h = await house(t)
      await aServer(h.sql, { max })
      await h.fleet.refresh()
      const { old, pending, rotate, connect, state } = await scene(h)
      const before = await h.sql`select public_key, preshared_key from leases where state = 'held'`
      const waiting = [await pending(() => rotate(publicKey())), await pending(() => rotate(publicKey()))]
      for (const i of order) assert.equal((await waiting[i]?.('timeout'))?.status, 503)
      assert.deepEqual(await state(), { key: old, tunnels: [{ key: old, counts: true }] })
      assert.deepEqual(
        [...(await h.sql`select public_key, preshared_key from leases where state = 'held'`)],
        [...before],
      )
      assert.equal((await connect({ client_public_key: old })).status, 201)
      assert.equal((await rotate(old)).status, 200)
    }
  }
})

test('a key that was told is what a later failed rotation goes back to, pre-shared key and all', async (t) => {
  const h = await houseWithServer(t)
  const { old, pending, rotate, state } = await scene(h)
  const second = publicKey()
  const told = await rotate(second)
  const [one, two] = [await pending(() => rotate(publicKey())), await pending(() => rotate(publicKey()))]
  await one('timeout')
  await two('timeout')
  assert.deepEqual(await state(), {
    key: second,
    tunnels: [
      { key: old, counts: false },
      { key: second, counts: true },
    ],
  })
  assert.deepEqual((await rotate(second)).body.connection, told.body.connection)
})

test('a failed rotation leaves the tunnel that a connect was told meanwhile, and its key', async (t) => {
  const h = await houseWithServer(t)
  const { pending, rotate, connect, state } = await scene(h)
  const second = publicKey()
  const first = await pending(() => rotate(second))
  const kept = await connect()
  assert.equal(kept.status, 201)
  assert.equal((await first('timeout')).status, 503)
  const now = await state()
  assert.deepEqual([now.key, now.tunnels.at(-1)], [second, { key: second, counts: true }])
  const again = await rotate(second)
  assert.deepEqual([again.status, again.body.connection.connection_id], [200, kept.body.connection_id])
})

test('a failed rotation leaves a tunnel that the device has moved elsewhere with the new key', async (t) => {
  const h = await houseWithServer(t)
  const other = await aServer(h.sql)
  await h.fleet.refresh()
  const { pending, rotate, connect, state } = await scene(h)
  const second = publicKey()
  const first = await pending(() => rotate(second))
  const moved = await connect({ server_id: other })
  assert.equal(moved.status, 201)
  const third = await pending(() => rotate(publicKey()))
  await first('timeout')
  await third('timeout')
  const now = await state()
  assert.deepEqual([now.key, now.tunnels.at(-1)], [second, { key: second, counts: true }])
})

test('when the confs made for a device fail it has the key it brought itself, in whichever order they end', async (t) => {
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    const h = await houseWithServer(t)
    const { user, at, old, pending, state } = await scene(h)
    const make = () => h.call('POST', `${at}/config`, user, {})
    const waiting = [await pending(make), await pending(make)]
    for (const i of order) assert.equal((await waiting[i]?.('timeout'))?.status, 503)
    assert.deepEqual(await state(), { key: old, tunnels: [{ key: old, counts: true }] })
  }
})

test('a conf that came while another was under way is the one that counts; the other is 409', async (t) => {
  const h = await houseWithServer(t)
  const { user, at, pending, state } = await scene(h)
  const make = () => h.call('POST', `${at}/config`, user, {})
  const first = await pending(make)
  assert.equal((await make()).status, 201)
  const { key } = await state()
  assert.equal((await first('live')).status, 409)
  const now = await state()
  assert.deepEqual([now.key, now.tunnels.filter(({ counts }) => counts)], [key, [{ key, counts: true }]])
})

test('a failed conf leaves no device with a key that nobody has, also when a connect was told its tunnel', async (t) => {
  const h = await houseWithServer(t)
  const { user, at, old, pending, connect, state } = await scene(h)
  const first = await pending(() => h.call('POST', `${at}/config`, user, {}))
  assert.equal((await connect()).status, 201)
  assert.equal((await first('timeout')).status, 503)
  assert.deepEqual(await state(), { key: old, tunnels: [{ key: old, counts: true }] })
})

test('of a rotation and a conf that both fail nothing stays', async (t) => {
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    for (const max of [250, 1]) {
      const h = await house(t)
      await aServer(h.sql, { max })
      await h.fleet.refresh()
      const { user, at, old, pending, rotate, state } = await scene(h)
      const first = await pending(() => rotate(publicKey()))
      await aServer(h.sql)
      await h.fleet.refresh()
      const waiting = [first, await pending(() => h.call('POST', `${at}/config`, user, {}))]
      for (const i of order) assert.equal((await waiting[i]?.('timeout'))?.status, 503)
      assert.deepEqual(await state(), { key: old, tunnels: [{ key: old, counts: true }] })
    }
  }
})
