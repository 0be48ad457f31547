import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test, type TestContext } from 'node:test'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { AppError } from '../errors.ts'
import { newId } from '../ids.ts'
import { createLog } from '../log.ts'
import { throwawaySecrets } from '../secrets.ts'
import { freshDatabase } from '../testing/index.ts'
import { createApp, forgetOldMarks, useIdempotency } from './index.ts'

const KEY = 'a-key-of-sixteen-and-more'
const ALICE = '018f0000-0000-7000-8000-00000000000a'
const BOB = '018f0000-0000-7000-8000-00000000000b'

type Handler = (n: number, found: string | null) => Promise<{ status: number; secret: string }>

/** An app with one idempotent route that counts how often its effect happened. */
async function anApp(t: TestContext, handle: Handler = async (n) => ({ status: 201, secret: `secret ${n}` })) {
  const { sql } = await freshDatabase(t)
  const app = await createApp({
    config: { ALLOWED_HOSTS: [], CORS_ORIGINS: [], PUBLIC_URL: undefined },
    log: createLog('silent'),
  })
  t.after(() => app.close())
  useIdempotency(app, sql, throwawaySecrets(), (req) => String(req.headers['x-user'] ?? ALICE))
  let effects = 0
  const schema = { body: z.strictObject({ a: z.int() }) }
  const effect = async (req: FastifyRequest, reply: FastifyReply) => {
    const found = req.idempotency?.found ?? null
    effects++
    const n = effects
    await sql.begin(async (tx) => req.idempotency?.mark(tx, newId()))
    const { status, secret } = await handle(n, found)
    if (status >= 400) throw new AppError(status === 409 ? 'CONFLICT' : 'UNAVAILABLE', 'no')
    return reply.code(status).send({ secret })
  }
  app.post('/api/v1/pay', { config: { needs: 'public', idempotent: true }, schema }, effect)
  for (const url of ['/api/v1/give', '/api/v1/donate'])
    app.post(url, { config: { needs: 'public', idempotent: 'give' }, schema }, effect)
  const pay = (key: string | undefined, a = 1, user = ALICE, url = '/pay') =>
    app.inject({
      method: 'POST',
      url,
      payload: { a },
      headers: { 'x-user': user, ...(key === undefined ? {} : { 'idempotency-key': key }) },
    })
  return { sql, pay, effects: () => effects }
}

test('a repeat answers the first response and makes no second effect', async (t) => {
  const { pay, effects } = await anApp(t)
  const first = await pay(KEY)
  const again = await pay(KEY)
  assert.equal(first.headers['idempotent-replayed'], undefined)
  assert.equal(again.headers['idempotent-replayed'], 'true')
  assert.deepEqual([again.statusCode, again.body], [201, first.body])
  assert.equal(effects(), 1)
})

test('without a key, with another key, or by another user it is another request', async (t) => {
  const { pay, effects } = await anApp(t)
  await pay(KEY)
  await pay(undefined)
  await pay(`${KEY}2`)
  await pay(KEY, 1, BOB)
  assert.equal(effects(), 4)
})

test('two names of one call share its keys, two calls do not', async (t) => {
  const { pay, effects } = await anApp(t)
  const first = await pay(KEY, 1, ALICE, '/give')
  assert.equal((await pay(KEY, 1, ALICE, '/donate')).body, first.body)
  assert.notEqual((await pay(KEY)).body, first.body)
  assert.equal(effects(), 2)
})

test('the same key with another body is a conflict', async (t) => {
  const { pay } = await anApp(t)
  await pay(KEY, 1)
  assert.equal((await pay(KEY, 2)).statusCode, 409)
})

test('a key that is too short or too long is refused', async (t) => {
  const { pay, effects } = await anApp(t)
  for (const key of ['', 'x'.repeat(15), 'x'.repeat(256)]) assert.equal((await pay(key)).statusCode, 400)
  assert.equal(effects(), 0)
})

test('of ten twins in flight one acts and all hear its answer', async (t) => {
  const { pay, effects } = await anApp(t, async (n) => {
    await sleep(150)
    return { status: 201, secret: `${n}` }
  })
  const answers = await Promise.all(Array.from({ length: 10 }, () => pay(KEY)))
  assert.equal(effects(), 1)
  assert.deepEqual(new Set(answers.map((a) => `${a.statusCode} ${a.body}`)), new Set(['201 {"secret":"1"}']))
})

test("the caller's own mistake is kept, a fault of ours is tried again", async (t) => {
  const statuses = [503, 409, 201]
  const { pay, effects } = await anApp(t, async (n) => ({ status: statuses[n - 1] ?? 500, secret: '' }))
  assert.equal((await pay(KEY)).statusCode, 503)
  assert.equal((await pay(KEY)).statusCode, 409)
  const third = await pay(KEY)
  assert.equal(third.statusCode, 409)
  assert.equal(third.headers['idempotent-replayed'], 'true')
  assert.equal(effects(), 2)
})

test('a mark whose instance died is taken over after 30 s, with the effect it had begun', async (t) => {
  const seen: (string | null)[] = []
  const { sql, pay } = await anApp(t, async (_n, found) => {
    seen.push(found)
    return { status: 201, secret: 'x' }
  })
  await pay(KEY)
  const begun = newId()
  await sql`update idempotency_marks set status = null, answer = null, effect_id = ${begun}, claimed_at = clock_timestamp() - interval '31 seconds'`
  const answers = await Promise.all([pay(KEY), pay(KEY)])
  assert.deepEqual(seen, [null, begun])
  assert.deepEqual(
    answers.map((a) => a.statusCode),
    [201, 201],
  )
})

test('what is stored can be read with the key only', async (t) => {
  const { sql, pay } = await anApp(t)
  await pay(KEY)
  const [row] = await sql<
    { all: string; answer: Buffer }[]
  >`select idempotency_marks::text as all, answer from idempotency_marks`
  assert.ok(row && row.answer.length > 20)
  assert.ok(
    !row.answer.includes('secret') &&
      !row.all.includes(KEY) &&
      !row.all.includes(Buffer.from('secret').toString('hex')),
  )
})

test('after a day the key is free again, and the job clears the row', async (t) => {
  const { sql, pay, effects } = await anApp(t)
  const age = () => sql`update idempotency_marks set created_at = clock_timestamp() - interval '25 hours'`
  await pay(KEY)
  await age()
  assert.equal((await pay(KEY, 2)).statusCode, 201)
  assert.equal(effects(), 2)
  await forgetOldMarks(sql)
  assert.equal((await sql`select from idempotency_marks`).length, 1)
  await age()
  await forgetOldMarks(sql)
  await forgetOldMarks(sql)
  assert.equal((await sql`select from idempotency_marks`).length, 0)
})
