import { link, readFile, readdir, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CannotRun } from './failures.ts'
import { codeOf } from './data-dir.ts'

/** A held lock; `release` may be called twice. */
export type Lock = { release: () => Promise<void> }

const NAME = /^agent\.lock\.(\d{1,15})$/

/**
 * Takes the data directory for this process. Each holder has a file of the next higher number, made complete in one
 * step; whoever finds the highest number dead takes the next. So a lock left by a killed process or before a reboot
 * never has to be removed by hand, and two contenders can never both win: the file system lets one make the name.
 * @throws {CannotRun} another live process holds it; the message names its pid
 */
export async function takeLock(dir: string): Promise<Lock> {
  const mine = await identify(process.pid)
  const draft = join(dir, `lock.${process.pid}.tmp`)
  await writeFile(draft, mine ?? '', { mode: 0o600 })
  try {
    for (;;) {
      const highest = (await numbers(dir)).at(-1) ?? 0
      const holder = highest > 0 ? await liveHolder(dir, highest) : null
      if (holder !== null) throw new CannotRun(`another agent (pid ${holder}) runs on ${dir}`)
      const held = await claim(dir, draft, highest + 1)
      if (held) return held
    }
  } finally {
    await unlink(draft).catch(() => undefined)
  }
}

/** The pid of the live process that holds this directory, or null. */
export async function lockHolder(dir: string): Promise<number | null> {
  const highest = (await numbers(dir)).at(-1)
  return highest === undefined ? null : liveHolder(dir, highest)
}

/** Null when somebody else was faster. */
async function claim(dir: string, draft: string, number: number): Promise<Lock | null> {
  const path = join(dir, `agent.lock.${number}`)
  const made = await link(draft, path).then(
    () => true,
    (error: unknown) => {
      if (codeOf(error) === 'EEXIST') return false
      throw new CannotRun(`the lock in ${dir} cannot be made (${codeOf(error)})`, error)
    },
  )
  if (!made) return null
  const all = await numbers(dir)
  // A name may be free again because a later holder has swept it; then that later one counts.
  if ((all.at(-1) ?? 0) > number) {
    await unlink(path).catch(() => undefined)
    return null
  }
  for (const old of all) if (old < number) await unlink(join(dir, `agent.lock.${old}`)).catch(() => undefined)
  return { release: () => unlink(path).catch(() => undefined) }
}

async function numbers(dir: string): Promise<number[]> {
  const names = await readdir(dir).catch(() => [])
  return names.flatMap((name) => (NAME.exec(name)?.[1] ? [Number(NAME.exec(name)?.[1])] : [])).toSorted((a, b) => a - b)
}

async function liveHolder(dir: string, number: number): Promise<number | null> {
  const text = await readFile(join(dir, `agent.lock.${number}`), 'utf8').catch(() => '')
  const pid = Number(text.split(' ')[0])
  if (!Number.isInteger(pid) || pid <= 0) return null
  return (await identify(pid)) === text ? pid : null
}

/** Pid, boot and start time: a pid that was given again, or a reboot, makes another text. Null: no such process. */
async function identify(pid: number): Promise<string | null> {
  try {
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [state, started] = [fields[0], fields[19]] // fields 3 and 22 of proc(5)
    return state === 'Z' || state === 'X' ? null : `${pid} ${boot} ${started ?? ''}`
  } catch {
    return null
  }
}
