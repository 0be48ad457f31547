import assert from 'node:assert/strict'
import { test } from 'node:test'
import { house, type House } from './testing/house.ts'

/** Buys without any event of Stripe's reaching us, then forgets what was written: each is one to repair. */
async function drifted(h: House, count: number): Promise<string[]> {
  h.standin.delivery.lost = true
  for (let n = 0; n < count; n++) {
    const body = { plan_id: 'premium_monthly', payment_method_id: h.standin.card() }
    assert.equal((await h.call('POST', '/subscriptions/subscribe', await h.user(), body)).status, 201)
  }
  await h.sql`delete from subscriptions`
  return (await h.sql<{ id: string }[]>`select stripe_customer_id as id from billing_customers order by id`).map(
    ({ id }) => id,
  )
}
const premium = async (h: House): Promise<number> =>
  (await h.sql<{ n: number }[]>`select count(*)::int as n from subscriptions where status = 'active'`)[0]?.n ?? 0
const nextPages = (h: House) =>
  h.owner<{ payload: { after: string; so_far: object } }[]>`
    select payload from graphile_worker._private_jobs j join graphile_worker._private_tasks t on t.id = j.task_id
     where t.identifier = 'billing.reconcile'`
const reads = (h: House): number => h.standin.calls.filter((call) => call === 'GET /v1/subscriptions').length

test('one customer that cannot be read hides nobody behind it', async (t) => {
  const h = await house(t, { jobs: false })
  const [first] = await drifted(h, 3)
  for (const it of h.standin.store.all('subscription')) if (it.customer === first) it.items.data = []
  assert.deepEqual(await h.billing.reconcile(), { read: 3, repaired: 2, failed: 1 })
  assert.equal(await premium(h), 2)
})

test('with Stripe away the comparison stops, and counts nobody as failed', async (t) => {
  const h = await house(t, { jobs: false })
  await drifted(h, 2)
  for (const fault of ['refuse', 'drop-before'] as const) {
    h.standin.fault = () => fault
    await assert.rejects(h.billing.reconcile())
    await assert.rejects(h.run('billing.reconcile', {}))
  }
  assert.equal((await nextPages(h)).length, 0)
})

test('the nightly comparison goes by pages: each is a job of its own, which queues the next', async (t) => {
  const h = await house(t, { jobs: false })
  await drifted(h, 2)
  // A hundred more who only have an order: they are read, and have nothing to repair.
  await h.sql`
    with made as (
      insert into billing_customers (id, stripe_customer_id)
      select gen_random_uuid(), 'cus_gone_' || n from generate_series(1, 110) n returning id)
    insert into billing_orders (id, customer_id, kind, plan_id, wish, state)
    select gen_random_uuid(), id, 'intent', 'premium_monthly', '{}', 'done' from made`
  let payload: object = {}
  const read: number[] = []
  for (let page = 0; page < 3; page++) {
    const before = reads(h)
    await h.run('billing.reconcile', payload)
    // A second one that was started beside it does not become a second run.
    if (page === 0) await h.run('billing.reconcile', payload)
    read.push(reads(h) - before)
    const jobs = await nextPages(h)
    assert.equal(jobs.length, page === 2 ? 0 : 1)
    payload = jobs[0]?.payload ?? {}
    await h.owner`delete from graphile_worker._private_jobs`
  }
  assert.deepEqual(read, [200, 12, 0])
  assert.equal(await premium(h), 2)
})
