import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { temporaryFolder } from '../testing/index.ts'
import { FolderInUse, takeLock } from './lock.ts'

const holderOf = async (path: string) => JSON.parse(await readFile(path, 'utf8')) as { pid: number; start: string; world: string } // prettier-ignore

test('a lock that a living process holds is refused, and free after its release', async (t) => {
  const path = join(await temporaryFolder(t), 'lock')
  const first = await takeLock(path)
  await assert.rejects(takeLock(path), (error) => error instanceof FolderInUse && error.message.includes(`process ${process.pid}`)) // prettier-ignore
  await first.release()
  await (await takeLock(path)).release()
})

test('of twenty who find a dead lock at once, one gets it', async (t) => {
  const path = join(await temporaryFolder(t), 'lock')
  const child = spawn(process.execPath, ['-e', ''])
  await once(child, 'exit')
  const lock = await takeLock(path)
  await lock.release()
  await writeFile(path, JSON.stringify({ ...(await mine(path)), pid: child.pid }))
  const tries = await Promise.allSettled(Array.from({ length: 20 }, () => takeLock(path)))
  const taken = tries.flatMap((r) => (r.status === 'fulfilled' ? [r.value] : []))
  assert.equal(taken.length, 1)
  for (const r of tries) if (r.status === 'rejected') assert.ok(r.reason instanceof FolderInUse)
  await taken[0]?.release()
})

test('a number that a later process has now does not hold the lock', async (t) => {
  const path = join(await temporaryFolder(t), 'lock')
  await writeFile(path, JSON.stringify({ ...(await mine(path)), start: '1' }))
  await (await takeLock(path)).release()
})

test('a holder of an earlier boot or another container counts while its beat is fresh, and no longer', async (t) => {
  const path = join(await temporaryFolder(t), 'lock')
  await writeFile(path, JSON.stringify({ ...(await mine(path)), world: 'elsewhere' }))
  await assert.rejects(takeLock(path), FolderInUse)
  const longAgo = new Date(Date.now() - 60_000)
  await utimes(path, longAgo, longAgo)
  await (await takeLock(path)).release()
})

test('a torn lock file holds nobody up', async (t) => {
  const path = join(await temporaryFolder(t), 'lock')
  await writeFile(path, '{"pid":')
  const lock = await takeLock(path)
  assert.equal((await holderOf(path)).pid, process.pid)
  assert.equal((await stat(path)).mode & 0o777, 0o600)
  await lock.release()
})

/** What a lock of this process says. */
async function mine(path: string) {
  const lock = await takeLock(`${path}.sample`)
  const holder = await holderOf(`${path}.sample`)
  await lock.release()
  return holder
}
