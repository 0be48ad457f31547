import { spawn } from 'node:child_process'
import { accessSync, closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DriverFailed, WireguardUnavailable } from './errors.ts'

/** Milliseconds after which a tool is ended: `ip` and `wg` answer in a few, also on a loaded machine. */
const TOOL_TIMEOUT_MS = 30_000
const STDERR_KEPT = 2_000

/** Where the tools are; the environment of this process is not handed on. */
const TOOL_ENV = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' }

/** The tool ended with an exit code other than 0. The message holds no arguments; stderr is kept apart. */
export class ToolFailed extends DriverFailed {
  readonly stderr: string
  constructor(tool: string, exitCode: number | null, stderr: string) {
    super(`${tool} failed (${exitCode === null ? 'ended by a signal' : `exit ${exitCode}`})`)
    this.stderr = stderr
  }
}

/**
 * Runs a program by argument array and gives its stdout. `fds` become its file descriptors 3 and up.
 * @throws {WireguardUnavailable} it is not installed
 * @throws {ToolFailed} it did not end with 0
 */
export function run(tool: string, args: string[], fds: number[] = []): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(tool, args, {
      env: TOOL_ENV,
      cwd: '/',
      stdio: ['ignore', 'pipe', 'pipe', ...fds],
    })
    // Not spawn's own `timeout`: its timer stays for the full time when the program does not exist.
    const timer = setTimeout(() => child.kill('SIGKILL'), TOOL_TIMEOUT_MS)
    const out: Buffer[] = []
    let err = ''
    child.stdout?.on('data', (chunk: Buffer) => out.push(chunk))
    child.stderr?.on('data', (chunk: Buffer) => {
      if (err.length < STDERR_KEPT) err += chunk.toString('latin1')
    })
    child.on('error', (cause: NodeJS.ErrnoException) => {
      clearTimeout(timer)
      if (cause.code === 'ENOENT') reject(new WireguardUnavailable('no-tool', `${tool} is not installed`))
      else reject(new DriverFailed(`${tool} could not be started`, cause))
    })
    child.on('close', (code) => {
      clearTimeout(timer)
      if (code === 0) resolve(Buffer.concat(out).toString('latin1'))
      else reject(new ToolFailed(tool, code, err.slice(0, STDERR_KEPT)))
    })
  })
}

/** The path under which a program started by `run` finds the n-th (from 0) of its `fds`. */
export const fdPath = (n: number): string => `/dev/fd/${3 + n}`

/**
 * Runs `use` with a file descriptor for each text. The files are 0600 in a 0700 folder and have lost their names before
 * the first byte is written, so a crash leaves no secret behind. Pipes would not do: Node's are sockets, and opening
 * /dev/fd/3 on a socket fails.
 */
export async function withSecrets<T>(texts: string[], use: (fds: number[]) => Promise<T>): Promise<T> {
  const fds: number[] = []
  try {
    openNameless(texts.length, fds)
    texts.forEach((text, i) => writeSync(fds[i] ?? -1, text))
    return await use(fds)
  } finally {
    fds.forEach((fd) => closeSync(fd))
  }
}

/** A file system in memory: what is written there never reaches a disk. */
const MEMORY = '/dev/shm'

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false
  }
}

function openNameless(count: number, fds: number[]): void {
  const folder = mkdtempSync(join(isWritable(MEMORY) ? MEMORY : tmpdir(), 'wg-'))
  try {
    for (let i = 0; i < count; i++) fds.push(openSync(join(folder, `${i}`), 'wx+', 0o600))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
