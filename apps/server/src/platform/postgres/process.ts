import { execFile, type ExecFileOptions } from 'node:child_process'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** Runs a program to its end and gives its standard output. @throws with what it wrote to standard error */
export function run(program: string, args: string[], options: ExecFileOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { cwd: '/', encoding: 'utf8', ...options }, (error, stdout, stderr) => {
      if (error)
        reject(new Error(`${basename(program)} failed: ${String(stderr).trim() || error.message}`, { cause: error }))
      else resolve(String(stdout))
    })
  })
}

/** State and start time from /proc/<pid>/stat (proc(5): the name in field 2 may hold blanks, so count behind its `)`). */
async function procStat(pid: number): Promise<{ state: string; start: string } | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { state: fields[0] ?? '', start: fields[19] ?? '' }
  } catch {
    return undefined
  }
}

/**
 * What tells a process from a later one with the same number: its start time (clock ticks since boot on Linux, a date
 * elsewhere). Undefined when it is gone or only its zombie is left.
 */
export async function startOf(pid: number): Promise<string | undefined> {
  if (process.platform === 'linux') {
    const stat = await procStat(pid)
    return stat && !'ZX'.includes(stat.state) ? stat.start : undefined
  }
  return run('ps', ['-o', 'lstart=', '-p', String(pid)]).then(
    (text) => text.trim() || undefined,
    () => undefined,
  )
}

/** Living PostgreSQL processes that work in this data folder (each of them has it as its working directory). */
async function inFolder(data: string): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    const pid = Number(name)
    if (!Number.isInteger(pid)) continue
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '')
    if (cwd === data && (await isPostgres(pid)) && (await startOf(pid))) found.push(pid)
  }
  return found
}

async function isPostgres(pid: number): Promise<boolean> {
  const exe = await readlink(`/proc/${pid}/exe`).catch(() => '')
  return basename(exe.replace(/ \(deleted\)$/, '')) === 'postgres'
}

/**
 * Living PostgreSQL processes on a data folder, the postmaster's (as postmaster.pid names it) first. Where there is no
 * /proc only the postmaster is seen, told by its command line.
 */
export async function postgresOn(data: string, postmaster: number | undefined): Promise<number[]> {
  if (process.platform === 'linux') {
    return (await inFolder(data)).toSorted((a, b) => Number(b === postmaster) - Number(a === postmaster))
  }
  if (postmaster === undefined) return []
  const command = await run('ps', ['-o', 'command=', '-p', String(postmaster)]).catch(() => '')
  return command.includes(data) ? [postmaster] : []
}

/** Sends a signal; a process that is already gone is fine. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Asks every 20 ms until `done` says so. @returns false when `milliseconds` went by first */
export async function until(done: () => boolean | Promise<boolean>, milliseconds: number): Promise<boolean> {
  const end = performance.now() + milliseconds
  while (!(await done())) {
    if (performance.now() > end) return false
    await sleep(20)
  }
  return true
}
