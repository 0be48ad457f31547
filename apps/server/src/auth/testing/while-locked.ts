import { setTimeout as sleep } from 'node:timers/promises'
import type { Tx } from '../../platform/db/index.ts'
import type { House } from './house.ts'

/** Until `count` sessions of the house's database wait for a lock. */
export async function waiting({ database }: House, count: number): Promise<void> {
  for (let i = 0; i < 400; i++) {
    const rows = await database.owner`
      select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`
    if (rows.length >= count) return
    await sleep(10)
  }
  throw new Error('nobody came to wait for the lock')
}

/**
 * Plays an overlap: the user is locked, the calls are judged and come to wait, and then `change` is made and committed.
 * @returns what the calls answered
 */
export async function whileLocked<T>(
  house: House,
  userId: string,
  change: (tx: Tx) => Promise<unknown>,
  ...calls: (() => Promise<T>)[]
): Promise<T[]> {
  const running: Promise<T>[] = []
  await house.database.sql.begin(async (tx) => {
    await tx`select from users where id = ${userId} for no key update`
    // What a change of devices and tunnels waits for.
    await tx`select lock_user(${userId})`
    running.push(...calls.map((call) => call()))
    await waiting(house, calls.length)
    await change(tx)
  })
  return Promise.all(running)
}
