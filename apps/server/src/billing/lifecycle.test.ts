import assert from 'node:assert/strict'
import { test } from 'node:test'
import { house } from './testing/house.ts'

const HOUR_MS = 3_600_000

test('of more customers in their last day of grace than one run takes, each is reminded once', async (t) => {
  const h = await house(t, { jobs: false })
  const ended = new Date(h.clock.now() - 48 * HOUR_MS + 7)
  const until = new Date(h.clock.now() + HOUR_MS)
  await h.sql`
    with made as (
      insert into users (id, email, is_verified)
      select gen_random_uuid(), n || '@example.com', true from generate_series(1, 1100) n returning id)
    insert into subscriptions (id, user_id, plan_id, plan_type, status, end_date, grace_until, source)
    select gen_random_uuid(), id, 'premium_monthly', 'monthly', 'past_due', ${ended}, ${until}, 'stripe' from made`
  const reminded: number[] = []
  for (let run = 0; run < 4; run++) {
    await h.run('billing.lifecycle')
    const [row] = await h.sql<
      { n: number }[]
    >`select count(*)::int as n from billing_notices where key like 'reminder:%'`
    reminded.push(row?.n ?? 0)
  }
  assert.deepEqual(reminded, [500, 1000, 1100, 1100])
})
