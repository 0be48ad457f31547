import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { healthRoutes } from '../platform/health/index.ts'
import { createApp } from '../platform/http/index.ts'
import { memoryKv } from '../platform/kv/index.ts'
import { createLog } from '../platform/log.ts'
import { freshDatabase } from '../platform/testing/index.ts'
import { healthStatusRoutes } from './index.ts'

async function anApp(t: TestContext) {
  const { sql } = await freshDatabase(t)
  const app = await createApp({
    config: { ALLOWED_HOSTS: ['vpn.example'], CORS_ORIGINS: [], PUBLIC_URL: undefined },
    log: createLog('silent'),
  })
  t.after(() => app.close())
  const state = { kvHealthy: true, stopping: false }
  const kv = { ...memoryKv(), healthy: () => state.kvHealthy }
  healthRoutes(app, { sql, kv, stopping: () => state.stopping })
  const snapshot = () => [{ linked: true }, { linked: false }] as never
  healthStatusRoutes(app, { sql, kv, redisConfigured: true, fleet: { snapshot } })
  const ask = async (url: string) => {
    const res = await app.inject(url)
    return { status: res.statusCode, body: res.json<Record<string, Record<string, unknown>>>() }
  }
  return { sql, state, ask }
}

test('health says ok, and degraded while the store is lost, whatever host it is asked by', async (t) => {
  const { state, ask } = await anApp(t)
  assert.deepEqual(await ask('/health'), { status: 200, body: { status: 'ok' } })
  state.kvHealthy = false
  assert.deepEqual(await ask('/health'), { status: 200, body: { status: 'degraded' } })
  assert.equal((await ask('/health/live')).status, 200)
})

test('ready is 503 while stopping and without database; live goes on', async (t) => {
  const { sql, state, ask } = await anApp(t)
  assert.equal((await ask('/health/ready')).status, 200)
  state.stopping = true
  assert.equal((await ask('/health/ready')).status, 503)
  state.stopping = false
  await sql.end()
  assert.equal((await ask('/health/ready')).status, 503)
  assert.equal((await ask('/health/live')).status, 200)
})

test('the detail tells database, store, nodes and versions', async (t) => {
  const { sql, ask } = await anApp(t)
  const { body } = await ask('/health/status')
  assert.equal(body.database?.ok, true)
  assert.match(String(body.database?.version), /^\d+/)
  assert.deepEqual(body.nodes, { enrolled: 2, linked: 1 })
  assert.equal(body.versions?.node, process.version)
  await sql.end()
  const lost = (await ask('/health/status')).body
  assert.deepEqual([lost.status, lost.database], ['degraded', { ok: false, ms: null, version: null }])
})
