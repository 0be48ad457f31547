import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { openWorld } from './testing/world.ts'

const world = await openWorld({ after })
const { app, sql } = world

type Operation = {
  security: unknown[]
  responses: Record<string, unknown>
  parameters?: { name: string }[]
}
/** Answered later or told to go on, and no second effect by nature: a repeat finds the state that is asked for. */
const SETS_A_STATE = ['/api/v1/admin/servers/{id}/drain', '/api/v1/admin/servers/{id}/rotate-key']

test('every signed-in POST that makes something takes an Idempotency-Key, and says so', () => {
  const missing: string[] = []
  let taking = 0
  for (const [path, { post }] of Object.entries(world.document.paths as Record<string, { post?: Operation }>)) {
    const makes = post && ['201', '202'].some((status) => status in post.responses)
    if (!makes || post.security.length === 0 || SETS_A_STATE.includes(path)) continue
    if (post.parameters?.some(({ name }) => name === 'Idempotency-Key')) taking++
    else missing.push(path)
  }
  assert.deepEqual(missing, [])
  assert.ok(taking > 10)
})

const plan = {
  id: 'again',
  name: 'Again',
  tier: 'premium',
  billing_period: 'monthly',
  prices: [{ currency: 'EUR', amount: 5 }],
  max_devices: 2,
  max_connections: 2,
  streaming_support: false,
  features: [],
  trial_days: 0,
  position: 9,
  is_active: true,
}
const CALLS: [path: string, body: object, count: () => PromiseLike<{ length: number }>][] = [
  ['plans', plan, () => sql`select from audit_log where action = 'plan.created'`],
  ['bans', { ip: '203.0.113.7', reason: 'x' }, () => sql`select from audit_log where action = 'ban.added'`],
  ['vouchers', { plan_id: 'premium_monthly', days: 30, count: 3 }, () => sql`select from vouchers`],
]

test('a repeat of what staff made is the first answer, and after a crash finds or takes back what was made', async () => {
  for (const [path, body, count] of CALLS) {
    const call = () =>
      app.inject({
        method: 'POST',
        url: `/api/v1/admin/${path}`,
        headers: {
          authorization: `Bearer ${world.tokenOf('super_admin')}`,
          'idempotency-key': `${path}-0123456789abcdef`,
        },
        payload: body,
      })
    const first = await call()
    assert.equal(first.statusCode, 201, first.body)
    const made = (await count()).length
    const second = await call()
    assert.equal(second.headers['idempotent-replayed'], 'true', path)
    assert.equal(second.body, first.body)
    await sql`update idempotency_marks set status = null, answer = null, claimed_at = clock_timestamp() - interval '31 s'`
    const third = await call()
    assert.equal(third.statusCode, 201, third.body)
    assert.equal((await count()).length, made, path)
    if (path === 'vouchers') assert.notEqual(third.body, first.body, 'codes that nobody saw are not kept')
    else assert.equal(third.body, first.body)
  }
})
