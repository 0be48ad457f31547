import { randomUUID } from 'node:crypto'
import { link, readFile, readlink, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { startOf } from './process.ts'

/** Another living process works on this data folder. */
export class FolderInUse extends Error {
  constructor(lock: string, pid: number) {
    super(
      `The database below ${lock} is in use by process ${pid}. Stop it first, or give this one another DATA_DIR ` +
        `(several instances share one database by DATABASE_URL).`,
    )
    this.name = 'FolderInUse'
  }
}

/** Who holds it. `world` names the boot and the pid namespace: a number says nothing about a process elsewhere. */
type Holder = { pid: number; start: string; world: string }
export type Lock = { release(): Promise<void> }

/** The holder touches its file this often (milliseconds) ... */
const BEAT_MS = 2_000
/** ... so that one from another container or boot counts as gone when it has been still for this long. */
const STILL_MS = 10_000

async function world(): Promise<string> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')
  const space = await readlink('/proc/self/ns/pid').catch(() => '')
  return `${boot.trim()} ${space}`
}

async function read(path: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Holder
  } catch {
    return undefined // gone, or a torn write of a dead machine: the file is only ever linked in whole
  }
}

async function lives(path: string, holder: Holder, here: string): Promise<boolean> {
  if (holder.world === here) return (await startOf(holder.pid)) === holder.start
  for (;;) {
    const age = await stat(path).then(
      (s) => Date.now() - s.mtimeMs,
      () => Infinity,
    )
    if (age > STILL_MS) return false
    if (age < BEAT_MS / 2) return true
    await sleep(200)
  }
}

/** Puts `mine` at `path` unless a living process holds it. @returns the living holder, undefined when it is ours */
async function take(path: string, mine: string, here: string): Promise<Holder | undefined> {
  const whole = `${path}.${randomUUID()}`
  await writeFile(whole, mine, { mode: 0o600 })
  try {
    for (;;) {
      if (await linked(whole, path)) return undefined
      const holder = await read(path)
      if (holder && (await lives(path, holder, here))) return holder
      await replaceDead(path, whole, holder)
    }
  } finally {
    await rm(whole, { force: true })
  }
}

/** Moves a dead holder's file out of the way; of several that see it dead, one does it at a time. */
async function replaceDead(path: string, whole: string, dead: Holder | undefined): Promise<void> {
  const turn = `${path}.turn`
  if (!(await linked(whole, turn))) {
    const age = await stat(turn).then((s) => Date.now() - s.mtimeMs, () => 0) // prettier-ignore
    if (age > STILL_MS) await rm(turn, { force: true })
    return sleep(50)
  }
  const still = await read(path)
  if (JSON.stringify(still) === JSON.stringify(dead)) await rename(path, turn).catch(() => undefined)
  await rm(turn, { force: true })
}

const linked = (from: string, to: string): Promise<boolean> =>
  link(from, to).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return false
      throw error
    },
  )

/**
 * Takes a lock file for as long as this process lives or until `release`. Survives nothing: a holder that was killed,
 * a number that another process has now, a reboot and a vanished container all count as gone.
 * @throws {FolderInUse}
 */
export async function takeLock(path: string): Promise<Lock> {
  const here = await world()
  const mine = JSON.stringify({ pid: process.pid, start: (await startOf(process.pid)) ?? '', world: here })
  const holder = await take(path, mine, here)
  if (holder) throw new FolderInUse(path, holder.pid)
  const beat = setInterval(() => {
    const now = new Date()
    utimes(path, now, now).catch(() => undefined)
  }, BEAT_MS)
  beat.unref()
  return {
    async release() {
      clearInterval(beat)
      await rm(path, { force: true })
    },
  }
}
