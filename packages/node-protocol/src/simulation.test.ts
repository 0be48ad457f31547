import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Simulation } from './testing/simulation.ts'

const long = Boolean(process.env['PRIME_LONG'])
const SCHEDULES = long ? 20_000 : 200
const FIRST_SEED = Number(process.env['PRIME_SEED'] ?? 1)

test(`in ${SCHEDULES} schedules of loss, crash and hostile repetition the kernel ends as wanted and every byte counts once`, () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SCHEDULES; seed++) {
    const violations = new Simulation(seed).run()
    assert.deepEqual(violations, [], `seed ${seed} (run it alone with PRIME_SEED=${seed})`)
  }
})
