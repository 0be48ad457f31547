import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Simulation } from './testing/simulation.ts'

const SCHEDULES = process.env['PRIME_LONG'] ? 40_000 : 600
const FIRST_SEED = Number(process.env['PRIME_SEED'] ?? 1)

test(`in ${SCHEDULES} schedules of loss, death and hostile repetition the kernel ends as wanted and every byte counts once`, () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SCHEDULES; seed++) {
    const violations = new Simulation(seed).run()
    assert.deepEqual(violations, [], `seed ${seed} (begin there with PRIME_SEED=${seed})`)
  }
})

test('the same seed gives the same schedule', () => {
  const [once, again] = [new Simulation(7), new Simulation(7)]
  once.run()
  again.run()
  assert.equal(once.steps, again.steps)
  assert.deepEqual([...once.kernel.peers.values()], [...again.kernel.peers.values()])
  assert.deepEqual(once.database.connections, again.database.connections)
})
