import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import type { Sql } from '../platform/db/index.ts'
import { rotateDeviceKey } from './device-key.ts'
import { sweep } from './upkeep.ts'
import { aDevice, aServer, aUser, house, houseWithServer, publicKey, type House } from './testing/house.ts'
import { scene, stateOf } from './testing/device-scene.ts'

const ORDERS = [
  [0, 1],
  [1, 0],
] as const

/** A house whose server has so much room, and another server beside it. */
async function twoServers(t: Parameters<typeof house>[0], max: number) {
  const h = await house(t)
  await aServer(h.sql, { max })
  await h.fleet.refresh()
  const s = await scene(h)
  const other = await aServer(h.sql)
  await h.fleet.refresh()
  return { h, s, other }
}

test('a rotation and a connect that both fail leave the device the key and the tunnel it had', async (t) => {
  for (const max of [250, 1]) {
    for (const moves of [false, true]) {
      for (const order of ORDERS) {
        const { h, s, other } = await twoServers(t, max)
        const leases = () => h.sql`select public_key, preshared_key from leases where state = 'held'`
        const before = [...(await leases())]
        const wish = moves ? { server_id: other } : {}
        const waiting = [await s.pending(() => s.rotate(publicKey())), await s.pending(() => s.connect(wish))]
        for (const i of order) assert.equal((await waiting[i]?.('timeout'))?.status, 503)
        const scenery = `room ${max}, moves ${moves}, order ${order.join()}`
        assert.deepEqual(await s.state(), { key: s.old, tunnels: [{ key: s.old, counts: true }] }, scenery)
        assert.deepEqual([...(await leases())], before, scenery)
      }
    }
  }
})

test('a connect that its server takes only after its key was taken back is 409, and nothing of it stays', async (t) => {
  for (const moves of [false, true]) {
    const { s, other } = await twoServers(t, 250)
    const rotation = await s.pending(() => s.rotate(publicKey()))
    const connecting = await s.pending(() => s.connect(moves ? { server_id: other } : {}))
    assert.equal((await rotation('timeout')).status, 503)
    assert.equal((await connecting('live')).status, 409)
    assert.deepEqual(await s.state(), { key: s.old, tunnels: [{ key: s.old, counts: true }] })
  }
})

test('two connects that both fail leave the tunnel that they wanted to move', async (t) => {
  for (const order of ORDERS) {
    const { s, other } = await twoServers(t, 250)
    const move = () => s.connect({ server_id: other })
    const waiting = [await s.pending(move), await s.pending(move)]
    for (const i of order) assert.equal((await waiting[i]?.('timeout'))?.status, 503)
    assert.deepEqual(await s.state(), { key: s.old, tunnels: [{ key: s.old, counts: true }] }, order.join())
  }
})

test('a connect that keeps the tunnel of one that fails is told so, or the tunnel stays', async (t) => {
  const { s, other } = await twoServers(t, 250)
  const move = () => s.connect({ server_id: other })
  const [lost, late] = [await s.pending(move), await s.pending(move)]
  assert.equal((await lost('timeout')).status, 503)
  assert.equal((await late('live')).status, 503)
  const [failing, told] = [await s.pending(move), await s.pending(move)]
  assert.equal((await told('live')).status, 201)
  assert.equal((await failing('timeout')).status, 503)
  assert.deepEqual((await s.state()).tunnels, [
    { key: s.old, counts: false },
    { key: s.old, counts: true },
  ])
})

test('a conf that fails takes also the tunnel that a connect opened elsewhere with its key', async (t) => {
  const { h, s, other } = await twoServers(t, 250)
  const conf = await s.pending(() => h.call('POST', `${s.at}/config`, s.user, {}))
  assert.equal((await s.connect({ server_id: other })).status, 201)
  assert.equal((await conf('timeout')).status, 503)
  assert.deepEqual(await s.state(), { key: s.old, tunnels: [{ key: s.old, counts: true }] })
})

test('the key of a conf whose instance died goes, with its tunnel and address, and the device has what it had', async (t) => {
  for (const path of ['config', 'subscription-url']) {
    const { h, s } = await twoServers(t, 250)
    const pending = await s.pending(() => h.call('POST', `${s.at}/${path}`, s.user, {}))
    await sweep(h.deps)
    assert.notEqual((await s.state()).key, s.old, 'it still waits')
    await h.sql`update unsettled_keys set changed_at = changed_at - interval '31 seconds'`
    h.node.woken.length = 0
    await sweep(h.deps)
    assert.deepEqual(await s.state(), { key: s.old, tunnels: [{ key: s.old, counts: true }] })
    assert.equal((await h.sql`select from unsettled_keys`).count, 0)
    assert.equal((await h.sql`select from device_subscriptions`).count, 0)
    assert.ok(h.node.woken.length > 0)
    assert.equal((await pending('live')).status, 409, 'should it live after all it is told so')
    assert.equal((await s.state()).key, s.old)
  }
})

test('a call that follows a conf whose instance died and fails leaves the tunnel that the device had', async (t) => {
  for (const next of ['config', 'key', 'connect'] as const) {
    for (const moves of [false, true]) {
      const { h, s, other } = await twoServers(t, 250)
      const wish = moves ? { server_id: other } : {}
      const dead = await s.pending(() => h.call('POST', `${s.at}/config`, s.user, wish))
      const calls = {
        config: () => h.call('POST', `${s.at}/config`, s.user, {}),
        key: () => s.rotate(publicKey()),
        connect: () => s.connect(),
      }
      const failing = await s.pending(calls[next])
      assert.equal((await failing('timeout')).status, 503)
      if (next === 'connect') {
        await h.sql`update unsettled_keys set changed_at = changed_at - interval '31 seconds'`
        await sweep(h.deps)
      }
      assert.deepEqual(await s.state(), { key: s.old, tunnels: [{ key: s.old, counts: true }] }, `${next} ${moves}`)
      assert.equal((await h.sql`select from leases where state = 'held'`).count, 1)
      assert.equal((await dead('live')).status, 409)
      assert.equal((await s.connect({ client_public_key: s.old })).status, 201)
    }
  }
})

test('a call that follows a conf whose instance died and succeeds replaces the tunnel that the device had', async (t) => {
  const { h, s, other } = await twoServers(t, 250)
  const dead = await s.pending(() => h.call('POST', `${s.at}/config`, s.user, { server_id: other }))
  assert.equal((await h.call('POST', `${s.at}/config`, s.user, {})).status, 201)
  const { key, tunnels } = await s.state()
  assert.deepEqual(tunnels, [
    { key: s.old, counts: false },
    { key, counts: true },
  ])
  assert.equal((await dead('live')).status, 409)
  assert.equal((await s.state()).key, key)
})

test('the subscription of a conf whose instance died goes with its key, also when the call that follows fails', async (t) => {
  const { h, s } = await twoServers(t, 250)
  const dead = await s.pending(() => h.call('POST', `${s.at}/subscription-url`, s.user, {}))
  const failing = await s.pending(() => h.call('POST', `${s.at}/config`, s.user, {}))
  assert.equal((await failing('timeout')).status, 503)
  assert.equal((await h.sql`select from device_subscriptions`).count, 0)
  assert.equal((await dead('live')).status, 409)
})

test('a rotation that fails while the key before has a tunnel again ends its own tunnel, and is told so', async (t) => {
  for (const leaves of [false, true]) {
    const h = await houseWithServer(t)
    const s = await scene(h)
    await h.sql`insert into subscriptions (id, user_id, plan_id, plan_type, status, end_date)
                values (${randomUUID()}, ${s.user}, 'premium_monthly', 'monthly', 'active', now() + interval '30 days')`
    const second = publicKey()
    assert.equal((await s.rotate(second)).status, 200)
    const failing = await s.pending(() => s.rotate(publicKey()))
    const apart = await h.call('POST', '/vpn/connect', s.user, { client_public_key: second })
    assert.equal(apart.status, 201)
    if (leaves)
      await h.sql`select end_connections(array[${apart.body.connection_id}::uuid], 'disconnected', '60 seconds')`
    assert.equal((await failing('timeout')).status, 503)
    const { key, tunnels } = await s.state()
    assert.equal(key, second)
    assert.deepEqual(
      tunnels.filter(({ counts }) => counts),
      leaves ? [{ key: second, counts: true }] : [],
    )
    const held = await h.sql`select from leases where state = 'held' and public_key = ${second}`
    assert.equal(held.count, 1)
    assert.equal((await s.connect()).status, 201)
  }
})

test('a lost key that cannot be taken back does not keep the others', async (t) => {
  const h = await houseWithServer(t)
  const scenes = [await scene(h), await scene(h)]
  const dead = []
  for (const s of scenes) dead.push(await s.pending(() => h.call('POST', `${s.at}/config`, s.user, {})))
  const [stuck, other] = scenes
  await h.owner.unsafe(`
    create function refuse() returns trigger language plpgsql as $$ begin raise 'refused'; end $$;
    create trigger refuse before update on devices for each row when (old.id = '${stuck?.device}') execute function refuse()`)
  await h.sql`update unsettled_keys set changed_at = changed_at - interval '31 seconds'`
  await sweep(h.deps)
  assert.equal((await other?.state())?.key, other?.old)
  assert.notEqual((await stuck?.state())?.key, stuck?.old)
  await h.owner`drop trigger refuse on devices`
  await sweep(h.deps)
  assert.equal((await stuck?.state())?.key, stuck?.old)
  for (const late of dead) assert.equal((await late('live')).status, 409)
})

test('what revokes the subscriptions of an account while a conf is taken back waits for nobody', async (t) => {
  for (const by of ['call', 'sweep'] as const) {
    const { h, s } = await twoServers(t, 250)
    const pending = await s.pending(() => h.call('POST', `${s.at}/subscription-url`, s.user, {}))
    await h.sql`update unsettled_keys set changed_at = changed_at - interval '31 seconds'`
    let undo: Promise<unknown> = Promise.resolve()
    const waits = async () =>
      (
        await h.owner`select from pg_locks where locktype = 'advisory' and not granted
                        and database = (select oid from pg_database where datname = current_database())`
      ).count > 0
    await h.owner.begin(async (tx) => {
      await tx`select lock_user(${s.user})`
      undo = by === 'call' ? pending('timeout') : sweep(h.deps)
      while (!(await waits())) await new Promise((resolve) => setTimeout(resolve, 5))
      await tx`set local lock_timeout = '500ms'`
      await tx`delete from device_subscriptions where user_id = ${s.user}`
    })
    await undo
    if (by === 'sweep') await pending('timeout')
    assert.deepEqual(await s.state(), { key: s.old, tunnels: [{ key: s.old, counts: true }] }, by)
  }
})

test('a device that is removed while it gets a key is 404', async (t) => {
  for (const wish of ['key', 'config'] as const) {
    const { h, s } = await twoServers(t, 250)
    const calls = {
      key: () => s.rotate(publicKey()),
      config: () => h.call('POST', `${s.at}/config`, s.user, {}),
    }
    const pending = await s.pending(calls[wish])
    await h.sql`delete from devices where id = ${s.device}`
    assert.equal((await pending('live')).status, 404, wish)
    assert.equal((await h.sql`select from leases where state = 'held'`).count, 0)
  }
})

/** The present tunnel is looked for only once `open` is called. */
function gated(db: Sql) {
  const gate = Promise.withResolvers<void>()
  const reached = Promise.withResolvers<void>()
  const slow = new Proxy(db, {
    apply(target, self, args: Parameters<Sql>) {
      const text = (args[0] as unknown as readonly string[]).join('')
      if (!text.includes('from connections c')) return Reflect.apply(target, self, args) as unknown
      reached.resolve()
      return gate.promise.then(() => Reflect.apply(target, self, args) as unknown)
    },
  })
  return { slow, reached: reached.promise, open: () => gate.resolve() }
}

/** A device without tunnel whose rotation finds the tunnel of a connect that came a moment after it. */
async function metByConnect(h: House) {
  const user = await aUser(h.sql)
  const [old, next] = [publicKey(), publicKey()]
  const device = await aDevice(h.sql, user, old)
  const { slow, reached, open } = gated(h.sql)
  const said = [Promise.withResolvers<'live' | 'timeout'>(), Promise.withResolvers<'live' | 'timeout'>()]
  h.node.script.push(...said.map(({ promise }) => promise))
  const rotation = rotateDeviceKey({ ...h.deps, db: slow }, { userId: user, deviceId: device, publicKey: next }).then(
    () => 200,
    (error: { status: number }) => error.status,
  )
  await reached
  const connecting = h.call('POST', '/vpn/connect', user, { device_id: device }).then(({ status }) => status)
  const asked = async (n: number) => {
    while (h.node.asked.length < n) await new Promise((resolve) => setTimeout(resolve, 2))
  }
  await asked(1)
  open()
  await asked(2)
  const end = async (who: 'connect' | 'rotation', state: 'live' | 'timeout') => {
    said[who === 'connect' ? 0 : 1]?.resolve(state)
    return who === 'connect' ? connecting : rotation
  }
  return { old, next, end, state: () => stateOf(h, device) }
}

test('a rotation without tunnel that fails for one that came meanwhile leaves the key the device had', async (t) => {
  for (const order of [
    ['connect', 'rotation'],
    ['rotation', 'connect'],
  ] as const) {
    const m = await metByConnect(await houseWithServer(t))
    for (const who of order) assert.equal(await m.end(who, 'timeout'), 503)
    assert.deepEqual(await m.state(), { key: m.old, tunnels: [] }, order.join())
  }
})

test('of a rotation and a connect that met, what one was told stays when the other fails', async (t) => {
  for (const [lucky, unlucky, status] of [
    ['connect', 'rotation', 201],
    ['rotation', 'connect', 200],
  ] as const) {
    const m = await metByConnect(await houseWithServer(t))
    assert.equal(await m.end(lucky, 'live'), status)
    assert.equal(await m.end(unlucky, 'timeout'), 503)
    assert.deepEqual(await m.state(), { key: m.next, tunnels: [{ key: m.next, counts: true }] }, lucky)
  }
})
