import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { AppError } from '../platform/errors.ts'
import { freshDatabase } from '../platform/testing/index.ts'
import { aUser, connect, disconnect, enrolledServer, house, liveServer, type House } from './testing/fixtures.ts'
import { seeded } from './testing/random.ts'
import type { Wish } from './select.ts'

const { sql } = await freshDatabase({ after })

const codeOf = (work: () => unknown): string => {
  try {
    work()
    return 'no error'
  } catch (error) {
    assert.ok(error instanceof AppError)
    return error.code
  }
}
const refusalOf = ({ fleet }: House, wish: Wish): string => codeOf(() => fleet.candidates(wish))

test('who is named is judged by what is known of it: unknown, premium, draining, unlinked, in maintenance', async (t) => {
  const h = await house(t, sql)
  const { serverId } = await liveServer(h)
  const named = (tier: 'free' | 'premium' = 'free') => refusalOf(h, { serverId, tier })
  assert.deepEqual(h.fleet.candidates({ serverId, tier: 'free' }), { ids: [serverId], whenFull: 'NO_SERVER_AVAILABLE' })
  assert.equal(refusalOf(h, { serverId: '019c0000-0000-7000-8000-0000000000aa', tier: 'free' }), 'NOT_FOUND')
  assert.equal(refusalOf(h, { serverId, location: 'Nowhere', tier: 'free' }), 'NO_SERVER_AVAILABLE')
  const change = (body: unknown) => h.call('PATCH', `/admin/servers/${serverId}`, body)
  await change({ tier: 'premium' })
  assert.deepEqual([named(), named('premium')], ['SUBSCRIPTION_REQUIRED', 'no error'])
  await change({ draining: true })
  assert.equal(named('premium'), 'NO_SERVER_AVAILABLE')
  await change({ draining: false, status: 'maintenance' })
  assert.equal(named('premium'), 'NO_SERVER_AVAILABLE')
  const waiting = await enrolledServer(h)
  assert.equal(refusalOf(h, { serverId: waiting.serverId, tier: 'free' }), 'NO_SERVER_AVAILABLE')
})

test('a wish finds its servers by code, name, city or location in any case, and by feature', async (t) => {
  const h = await house(t, sql)
  const place = { country: 'Japan', country_code: 'JP', city: 'Osaka', location: 'Kansai', features: ['double_vpn'] }
  const free = await liveServer(h, place)
  const premium = await liveServer(h, { ...place, tier: 'premium', city: 'Kobe' })
  const ids = (wish: Omit<Wish, 'tier'>, tier: 'free' | 'premium' = 'premium') =>
    h.fleet.candidates({ ...wish, tier }).ids.toSorted()
  const both = [free.serverId, premium.serverId].toSorted()
  for (const wish of [
    { location: 'jp' },
    { location: 'KANSAI' },
    { country: 'japan' },
    { country: 'Jp', feature: 'double_vpn' },
  ])
    assert.deepEqual(ids(wish), both, JSON.stringify(wish))
  assert.deepEqual(ids({ location: 'osaka' }), [free.serverId])
  assert.deepEqual(ids({ location: 'jp' }, 'free'), [free.serverId])
  assert.equal(refusalOf(h, { location: 'Kobe', tier: 'free' }), 'SUBSCRIPTION_REQUIRED')
  assert.equal(refusalOf(h, { location: 'Kobe', country: 'DE', tier: 'premium' }), 'NO_SERVER_AVAILABLE')
  assert.equal(refusalOf(h, { location: 'jp', feature: 'obfuscation', tier: 'free' }), 'NO_SERVER_AVAILABLE')
  for (const odd of ['__proto__', 'constructor', ''])
    assert.equal(refusalOf(h, { location: odd, tier: 'free' }), 'NO_SERVER_AVAILABLE')
})

test('where all is full by the snapshot the database is asked, and the caller knows what to answer', async (t) => {
  const h = await house(t, sql)
  const place = { country: 'Peru', country_code: 'PE', city: 'Lima', location: 'Lima' }
  const small = await liveServer(h, { ...place, max_connections: 1 })
  const { connection } = await connect(sql, await aUser(sql), [small.serverId])
  await h.fleet.refresh()
  const full = h.fleet.candidates({ location: 'pe', tier: 'free' })
  assert.deepEqual(full, { ids: [small.serverId], whenFull: 'NO_SERVER_AVAILABLE' })
  await disconnect(sql, connection)
  assert.equal((await connect(sql, await aUser(sql), full.ids)).outcome, 'connected')
  await liveServer(h, { ...place, tier: 'premium' })
  assert.equal(h.fleet.candidates({ location: 'pe', tier: 'free' }).whenFull, 'SUBSCRIPTION_REQUIRED')
})

test('a reservation counts at once, until it is released or a look that began later counts the tunnel', async (t) => {
  const h = await house(t, sql)
  const place = { country: 'Chile', country_code: 'CL', city: 'Arica', location: 'Arica', max_connections: 20 }
  const [a, b] = [await liveServer(h, place), await liveServer(h, place)]
  const best = () => h.fleet.candidates({ country: 'CL', tier: 'free' }).ids[0]
  const reservations = Array.from({ length: 3 }, () => h.fleet.reserve(a.serverId))
  assert.equal(best(), b.serverId)
  await h.fleet.refresh()
  assert.equal(best(), b.serverId)
  for (const reservation of reservations) {
    reservation.release()
    reservation.release()
    reservation.settle()
  }
  const back = Array.from({ length: 3 }, () => h.fleet.reserve(b.serverId))
  assert.equal(best(), a.serverId)
  for (const reservation of back) reservation.settle(a.serverId)
  assert.equal(best(), b.serverId)
  await h.fleet.refresh()
  const draws = new Set(Array.from({ length: 50 }, best))
  assert.equal(draws.size, 2, 'settled ones that became no tunnel are forgotten')
})

test('1,000 connects at once on ten servers are spread within a tenth of the mean', async (t) => {
  const { sql: fresh } = await freshDatabase(t)
  const h = await house(t, fresh, seeded(3))
  for (let n = 0; n < 10; n++) await liveServer(h, { max_connections: 250 })
  const users = Array.from({ length: 1000 }, (_, n) => `019c0000-0000-7000-8000-${String(n).padStart(12, '0')}`)
  await fresh`insert into users (id, email) select id, id::text || '@example.com' from unnest(${users}::uuid[]) id`
  const counts = new Map<string, number>()
  await Promise.all(
    users.map(async (user) => {
      const { ids } = h.fleet.candidates({ tier: 'free' })
      const reservation = h.fleet.reserve(ids[0] ?? '')
      const { outcome, server } = await connect(fresh, user, ids)
      assert.equal(outcome, 'connected')
      reservation.settle(server)
      counts.set(server, (counts.get(server) ?? 0) + 1)
    }),
  )
  assert.ok(Math.max(...counts.values()) <= 110, JSON.stringify([...counts.values()]))
  await h.fleet.refresh()
  assert.equal(
    h.fleet.snapshot().reduce((sum, server) => sum + server.tunnels, 0),
    1000,
  )
})
