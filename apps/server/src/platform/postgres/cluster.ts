import { spawn, type ChildProcess } from 'node:child_process'
import { chown, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { as } from './account.ts'
import { ADMIN_ROLE, PORT } from './address.ts'
import type { Binaries } from './binaries.ts'
import type { Place } from './place.ts'
import { postgresOn, run, signal, until } from './process.ts'

export type Durability = 'durable' | 'throwaway'
export type Postmaster = {
  pid: number
  exited: Promise<number | null>
  /** Lets this process end while the server goes on. */
  leave(): void
}

/** Milliseconds. Recovery after a crash of a large database may take its time. */
const START_MS = 120_000
const FAST_STOP_MS = 30_000
const HARD_STOP_MS = 10_000

/** Nothing of ours (secrets come in the environment) is handed to another user's process. */
const CLEAN_ENV = { PATH: '/usr/bin:/bin', TZ: 'UTC', LC_ALL: 'C' }

/** @throws when the folder holds another major version; nothing is touched then */
export async function checkVersion(data: string, major: number): Promise<'empty' | 'fits'> {
  const text = await readFile(join(data, 'PG_VERSION'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw new Error(`The database in ${data} belongs to another user, or cannot be read: ${error.message}`)
  })
  if (text === undefined) return 'empty'
  if (text.trim() === String(major)) return 'fits'
  throw new Error(
    `The database in ${data} is of PostgreSQL ${text.trim()}, this release brings ${major}. Nothing was touched. Move ` +
      `it with pg_dump and pg_restore of the old release (docs/decisions/0004), or start that release again.`,
  )
}

/** Makes an empty cluster. It appears under its name only when it is whole. */
export async function initCluster(
  { initdb }: Binaries,
  { data, account }: Place,
  durability: Durability,
): Promise<void> {
  const growing = `${data}.new`
  await rm(growing, { recursive: true, force: true })
  await mkdir(growing, { mode: 0o700 })
  if (account) await chown(growing, account.uid, account.gid)
  const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
  const access = [`--username=${ADMIN_ROLE}`, '--auth-local=trust', '--auth-host=reject']
  const sync = durability === 'throwaway' ? ['--no-sync'] : []
  const args = ['-D', growing, ...locale, ...access, '--data-checksums', '--no-instructions', ...sync]
  await run(initdb, args, { ...as(account), env: CLEAN_ENV })
  await rename(growing, data)
}

/** For one small machine; a larger installation has its own PostgreSQL. */
function settings(socket: string, log: string, durability: Durability): string[] {
  const chosen: Record<string, string> = {
    listen_addresses: '',
    port: String(PORT),
    unix_socket_directories: `"${socket.replaceAll('"', '""')}"`,
    max_connections: durability === 'throwaway' ? '300' : '100',
    shared_buffers: '128MB',
    max_wal_size: '512MB',
    // One file a day of the week, begun anew each week. Statements and their values never reach it.
    logging_collector: 'on',
    log_directory: log,
    log_filename: 'postgres-%a.log',
    log_truncate_on_rotation: 'on',
    log_rotation_age: '1d',
    log_rotation_size: '0',
    log_timezone: 'UTC',
    log_statement: 'none',
    log_min_error_statement: 'panic',
    log_error_verbosity: 'terse',
    ...(durability === 'throwaway'
      ? // mmap: what a killed server leaves goes with its folder
        { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', dynamic_shared_memory_type: 'mmap' }
      : { fsync: 'on', synchronous_commit: 'on' }),
  }
  return Object.entries(chosen).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

/** The number in postmaster.pid and whether it says `ready` (its eighth line). */
export async function pidFile(data: string): Promise<{ pid: number; ready: boolean } | undefined> {
  const lines = (await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
  const pid = Number(lines[0])
  return pid > 0 ? { pid, ready: (lines[7] ?? '').trim() === 'ready' } : undefined
}

/**
 * Ends whatever an earlier run left on this folder: a postmaster without its parent is asked for a fast shutdown,
 * backends without their postmaster are told to leave. Call it only while holding the folder's lock. Afterwards a
 * left-over postmaster.pid guards nothing and goes, so that a number that another process has now cannot stop us.
 * @returns how many processes were found
 */
export async function clearRemains(data: string): Promise<number> {
  const postmaster = (await pidFile(data))?.pid
  const found = await postgresOn(data, postmaster)
  if (found[0] !== undefined) {
    const gone = async () => (await postgresOn(data, postmaster)).length === 0
    const polite = found[0] === postmaster ? [found[0]] : found
    for (const pid of polite) signal(pid, found[0] === postmaster ? 'SIGINT' : 'SIGTERM')
    if (!(await until(gone, FAST_STOP_MS))) {
      for (const pid of await postgresOn(data, postmaster)) signal(pid, 'SIGQUIT')
      if (!(await until(gone, HARD_STOP_MS))) throw new Error(`Old PostgreSQL processes on ${data} do not end.`)
    }
  }
  if (process.platform === 'linux') await rm(join(data, 'postmaster.pid'), { force: true })
  return found.length
}

/**
 * Starts the server in a session of its own (a Ctrl-C for us must not end it before we drained) and waits until it
 * takes connections.
 * @throws with the end of its log when it does not come up
 */
export async function startPostmaster(
  { postgres }: Binaries,
  { data, log, account }: Place,
  socket: string,
  durability: Durability,
): Promise<Postmaster> {
  const first = join(log, 'start.log')
  await rm(first, { force: true }) // the folder is not ours: never write through what lies there
  const output = await open(first, 'wx', 0o600)
  let child: ChildProcess
  try {
    child = spawn(postgres, ['-D', data, ...settings(socket, log, durability)], {
      ...as(account),
      cwd: '/',
      env: CLEAN_ENV,
      detached: true,
      stdio: ['ignore', output.fd, output.fd],
    })
  } finally {
    await output.close()
  }
  const exited = new Promise<number | null>((resolve) => {
    child.once('exit', resolve)
    child.once('error', () => resolve(null))
  })
  let over = false
  void exited.then(() => (over = true))
  const up = async () => {
    const file = await pidFile(data)
    return over || (file?.pid === child.pid && file?.ready === true)
  }
  const inTime = await until(up, START_MS)
  if (over || !inTime || child.pid === undefined) {
    throw new Error(`PostgreSQL did not start on ${data}. ${await lastLines(first, log)}`)
  }
  return { pid: child.pid, exited, leave: () => child.unref() }
}

/** What a failed start said: the plain output first, then the collector's file of today. */
async function lastLines(first: string, log: string): Promise<string> {
  const day = new Date().toLocaleDateString('en-US', { weekday: 'short', timeZone: 'UTC' })
  const texts = await Promise.all(
    [first, join(log, `postgres-${day}.log`)].map((path) => readFile(path, 'utf8').catch(() => '')),
  )
  return texts
    .map((text) => text.trim().split('\n').slice(-8).join('\n'))
    .join('\n')
    .trim()
}

/** Fast shutdown (open transactions roll back, data is flushed), harder only when that does not end it. */
export async function stopPostmaster({ pid, exited }: Postmaster): Promise<void> {
  const within = (milliseconds: number) => {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<false>((resolve) => (timer = setTimeout(resolve, milliseconds, false)))
    return Promise.race([exited.then(() => true), late]).finally(() => clearTimeout(timer))
  }
  signal(pid, 'SIGINT')
  if (await within(FAST_STOP_MS)) return
  signal(pid, 'SIGQUIT')
  if (await within(HARD_STOP_MS)) return
  signal(pid, 'SIGKILL')
  await exited
}
