import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import type { FastifyRequest } from 'fastify'
import { usePrincipals } from '../auth/index.ts'
import { systemClock } from '../platform/clock.ts'
import { createApp } from '../platform/http/index.ts'
import { memoryKv } from '../platform/kv/index.ts'
import { defer, freshDatabase } from '../platform/testing/index.ts'
import { aServer, aTunnel, aUser, silent } from '../node-link/testing/fleet-of-one.ts'
import { settleDays } from './daily.ts'
import { foldReports } from './fold-store.ts'
import { usageRoutes } from './routes.ts'
import { TestAuth } from './testing/theatre.ts'
import { takeTicket } from './tickets.ts'

const { sql: db } = await freshDatabase({ after })
const kv = memoryKv()
const auth = new TestAuth()
const app = await createApp({
  config: { ALLOWED_HOSTS: [], CORS_ORIGINS: [], PUBLIC_URL: undefined },
  log: silent,
  authenticate: async (req: FastifyRequest) => {
    req.principal = await auth.authenticateToken(String(req.headers.authorization))
  },
})
usePrincipals(app)
usageRoutes(app, { db, kv, clock: systemClock })
defer({ after }, async () => {
  await app.close()
  await kv.close()
})

const server = await aServer(db)
const [user, other] = [await aUser(db), await aUser(db)]
for (const [who, slot, rx] of [
  [user, 5, 100n],
  [other, 6, 1_000n],
] as const) {
  const tunnel = await aTunnel(db, who, server, slot)
  await foldReports(db, [{ ...tunnel, epoch: 1, rx, tx: rx, handshakeAt: 0, bytesPerSecond: 0n, final: false }])
}
await settleDays(db)

type Answer = {
  from: string
  to: string
  group_by: string
  data: { key: string; bytes_sent: number; connections: number }[]
}
const get = async (url: string, token = `${user}.s1`) => {
  const answer = await app.inject({ url, headers: { authorization: token } })
  return { status: answer.statusCode, body: answer.json<Answer & { error?: { details?: { field: string }[] } }>() }
}
const today = new Date().toISOString().slice(0, 10)

test("statistics are one's own, by day, under both names", async () => {
  for (const path of ['/api/v1/connection/statistics?days=30', '/vpn/statistics', '/connection/statistics']) {
    const { status, body } = await get(path)
    assert.equal(status, 200)
    assert.equal(body.group_by, 'day')
    assert.deepEqual(
      body.data.map(({ key, bytes_sent, connections }) => [key, bytes_sent, connections]),
      [[today, 100, 1]],
    )
    const days = (Date.parse(body.to) - Date.parse(body.from)) / 86_400_000
    assert.equal(Math.round(days), 30)
  }
})

test("analytics are one's own, for staff everybody's; statistics stay one's own", async () => {
  for (const name of ['usage', 'connections', 'bandwidth']) {
    const mine = await get(`/analytics/${name}?group_by=server`)
    assert.deepEqual(
      mine.body.data.map(({ key, bytes_sent }) => [key, bytes_sent]),
      [[server, 100]],
    )
    const all = await get(`/analytics/${name}?group_by=location`, `${other}.s1.support`)
    assert.deepEqual(
      all.body.data.map(({ key, bytes_sent }) => [key, bytes_sent]),
      [['Berlin', 1_100]],
    )
  }
  assert.equal((await get('/vpn/statistics', `${other}.s1.admin`)).body.data[0]?.bytes_sent, 1_000)
})

test('ranges are dates or times, in order and bounded; groups are of the list', async () => {
  assert.equal((await get(`/analytics/usage?from=${today}&to=${today}T23:59:59Z`)).body.data.length, 1)
  assert.equal((await get('/analytics/usage?from=2026-01-01&to=2026-01-31')).body.data.length, 0)
  const wrong: [query: string, field: string][] = [
    ['from=2026-02-01&to=2026-01-01', 'from'],
    ['from=2026-02-01&to=2026-02-01', 'from'],
    ['from=2020-01-01&to=2026-01-01', 'from'],
    ['from=yesterday', 'from'],
    ['to=0', 'to'],
    ["group_by=day';drop table users", 'group_by'],
    ['group_by=user', 'group_by'],
    ['user_id=1', 'user_id'],
  ]
  for (const [query, field] of wrong) {
    const { status, body } = await get(`/analytics/usage?${query}`)
    assert.deepEqual([status, body.error?.details?.[0]?.field], [400, field], query)
  }
  for (const days of ['0', '367', '1.5', 'x', ''])
    assert.equal((await get(`/vpn/statistics?days=${days}`)).status, 400, days)
})

test('a ticket is answered uncached, holds for its session and lies nowhere readable', async () => {
  const answer = await app.inject({ method: 'POST', url: '/ws/ticket', headers: { authorization: `${user}.s1` } })
  assert.equal(answer.statusCode, 200)
  assert.equal(answer.headers['cache-control'], 'no-store')
  const { ticket, expires_in } = answer.json<{ ticket: string; expires_in: number }>()
  assert.equal(expires_in, 30)
  assert.equal(await kv.get(`ws-ticket:${ticket}`), null)
  const principal = await takeTicket(kv, auth, ticket)
  assert.deepEqual([principal.userId, principal.sessionId], [user, 's1'])
  await assert.rejects(takeTicket(kv, auth, ticket), { code: 'UNAUTHENTICATED' })
})
