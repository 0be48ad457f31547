import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { FORGET_JOB } from './event-jobs.ts'
import { aPayer, house, type House } from './testing/house.ts'

const queuedForgets = async ({ owner }: House): Promise<number> =>
  (
    await owner`
      select from graphile_worker._private_jobs j join graphile_worker._private_tasks t on t.id = j.task_id
       where t.identifier = ${FORGET_JOB}`
  ).length
/** Jobs that were lost, or done in vain. */
const loseJobs = ({ owner }: House) => owner`delete from graphile_worker._private_jobs`
const customers = (h: House) => h.sql<{ id: string; forgotten_at: Date | null }[]>`
  select id, forgotten_at from billing_customers`

test('an erased account whose job was lost is forgotten at Stripe by a later sweep, once', async (t) => {
  const h = await house(t, { jobs: false })
  const user = await aPayer(h)
  await h.owner`delete from users where id = ${user}`
  await loseJobs(h)
  await h.run('billing.sweep')
  assert.equal(await queuedForgets(h), 1)
  const [customer] = await customers(h)
  assert.ok(customer, 'the sweep keeps the name at Stripe, though its day has come')
  await loseJobs(h)
  await h.run(FORGET_JOB, { customer: customer.id })
  assert.deepEqual(
    h.standin.store.all('subscription').map(({ status }) => status),
    ['canceled'],
  )
  await h.run('billing.sweep')
  assert.deepEqual([await queuedForgets(h), (await customers(h)).length], [0, 0])
})

test('where billing is off an erased account waits, until a start with billing on', async (t) => {
  const off = await house(t, { off: true })
  const id = randomUUID()
  const user = await off.user()
  await off.sql`insert into billing_customers (id, user_id, stripe_customer_id) values (${id}, ${user}, 'cus_before')`
  await off.owner`delete from users where id = ${user}`
  await off.settle()
  await off.run('billing.sweep')
  assert.deepEqual([...(await customers(off))], [{ id, forgotten_at: null }])

  const on = await house(t, { jobs: false })
  await on.sql`insert into billing_customers (id, stripe_customer_id) values (${id}, 'cus_before')`
  assert.equal(await queuedForgets(on), 0)
  await on.restart()
  assert.equal(await queuedForgets(on), 1)
})
