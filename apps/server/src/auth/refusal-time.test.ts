import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openHouse } from './testing/house.ts'
import { waiting } from './testing/while-locked.ts'

const house = await openHouse({ after }, { env: { REQUIRE_EMAIL_VERIFICATION: 'true' } })
const { owner } = house.database
await house.register('waiting@example.com')

test('an unknown address, a wrong password and an unverified account with the right one are read alike', async () => {
  const calls: Promise<{ statusCode: number }>[] = []
  await owner.begin(async (tx) => {
    await tx`lock table one_time_passwords`
    calls.push(
      house.login('nobody@example.com'),
      house.login('waiting@example.com', 'not the password'),
      house.login('waiting@example.com'),
    )
    await waiting(house, calls.length)
  })
  for (const { statusCode } of await Promise.all(calls)) assert.equal(statusCode, 401)
})

test('the refusal of an unverified account does not wait for the mail that it brings about', async () => {
  const queued = () => owner`select from graphile_worker._private_jobs`
  for (let i = 0; i < 200 && (await queued()).length === 0; i++) await sleep(10)
  await owner`delete from graphile_worker._private_jobs`
  await owner.begin(async (tx) => {
    await tx`lock table graphile_worker._private_jobs`
    const answer = await Promise.race([house.login('waiting@example.com'), sleep(5_000, undefined, { ref: false })])
    assert.equal(answer?.statusCode, 401)
  })
  for (let i = 0; i < 200 && (await queued()).length === 0; i++) await sleep(10)
  assert.equal((await queued()).length, 1)
})
