import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as pause } from 'node:timers/promises'
import type { Control, Link } from './driver.ts'
import { DriverFailed } from './errors.ts'
import { inTurn } from './open-driver.ts'

/** A driver that writes down when each order begins and ends; a dump fails. */
function recorded(): { driver: ReturnType<typeof inTurn>; log: string[] } {
  const log: string[] = []
  const step = async (what: string): Promise<void> => {
    log.push(`${what} begins`)
    await pause()
    log.push(`${what} ends`)
  }
  const control: Control = {
    configure: () => step('configure'),
    apply: (ops) => step(`apply ${ops.length}`),
    dump: async () => {
      await step('dump')
      throw new DriverFailed('broken')
    },
  }
  const link: Link = {
    exists: async () => true,
    create: () => step('create'),
    destroy: () => step('destroy'),
    identity: async () => 'x',
  }
  return { driver: inTurn('wg0', 'userspace', link, control), log }
}

test('orders given at once run one after the other in their sequence, also behind one that fails', async () => {
  const { driver, log } = recorded()
  const results = await Promise.allSettled([
    driver.create(),
    driver.dump(),
    driver.apply([{ op: 'remove', publicKey: 'x' }]),
    driver.apply([]),
    driver.destroy(),
  ])
  const wanted = ['create', 'dump', 'apply 1', 'apply 0', 'destroy'].flatMap((what) => [
    `${what} begins`,
    `${what} ends`,
  ])
  assert.deepEqual(log, wanted)
  assert.deepEqual(
    results.map((r) => r.status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'fulfilled'],
  )
})
