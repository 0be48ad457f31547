import { execFile, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { CannotRun, oneLine } from './failures.ts'

export type ExecResult = { code: number; stdout: string; stderr: string }
export type ExecOptions = {
  /** Milliseconds until the program is killed. */
  timeoutMs?: number
  /** The most the program may write to either stream, in bytes; more ends it. */
  maxBytes?: number
  /** Exit codes that are an answer and not a fault. */
  expect?: readonly number[]
}

/** A program ran and failed; the message names the program and its first line of complaint. */
export class ProgramFailed extends Error {
  readonly program: string
  readonly code: number | null
  readonly stderr: string
  constructor(program: string, code: number | null, stderr: string, cause?: unknown) {
    super(`${program} failed: ${oneLine(stderr) || `exit code ${code ?? 'none'}`}`, { cause })
    this.name = 'ProgramFailed'
    this.program = program
    this.code = code
    this.stderr = stderr
  }
}

// A user's PATH often lacks the sbin directories where nft, ip and conntrack live.
const SBIN = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin']

/** The whole environment of a program: where to look and a fixed language, nothing of ours. */
export const minimalEnv = (): Record<string, string> => ({
  PATH: [...(process.env['PATH'] ?? '').split(':').filter(Boolean), ...SBIN].join(':'),
  LC_ALL: 'C',
})

/**
 * Starts a program by its argument array, never through a shell, and waits for its end.
 * @throws {CannotRun} the program is not installed or may not be started
 * @throws {ProgramFailed} another exit code than 0 and `expect`, a timeout (default 10 s) or too much output
 */
export function run(program: string, args: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
  const { timeoutMs = 10_000, maxBytes = 4 * 1024 * 1024, expect = [] } = options
  const settings = { timeout: timeoutMs, maxBuffer: maxBytes, killSignal: 'SIGKILL' as const, env: minimalEnv() }
  return new Promise((resolve, reject) => {
    const child = execFile(program, [...args], settings, (error, stdout, stderr) => {
      if (!error) return resolve({ code: 0, stdout, stderr })
      const { code } = error
      if (code === 'ENOENT') return reject(new CannotRun(`${program} is not installed`, error))
      if (code === 'EACCES') return reject(new CannotRun(`${program} may not be started`, error))
      if (typeof code === 'number' && expect.includes(code)) return resolve({ code, stdout, stderr })
      const why = error.killed ? `no end within ${timeoutMs} ms` : stderr || String(code)
      reject(new ProgramFailed(program, typeof code === 'number' ? code : null, why, error))
    })
    child.stdin?.end()
  })
}

/**
 * Hands over a program's output line by line, however much it is; its complaints are dropped.
 * @throws {CannotRun} the program is not installed @throws {ProgramFailed} it did not end with 0 in time (default 60 s)
 */
export async function eachLine(
  program: string,
  args: readonly string[],
  take: (line: string) => void,
  timeoutMs = 60_000,
): Promise<void> {
  const child = spawn(program, [...args], { env: minimalEnv(), stdio: ['ignore', 'pipe', 'ignore'] })
  // spawn's own timeout would hold the process for its whole length when the program does not exist.
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', (error) => reject(new CannotRun(`${program} is not installed or may not be started`, error)))
    child.on('close', resolve)
  })
  createInterface({ input: child.stdout }).on('line', take)
  const code = await ended.finally(() => clearTimeout(timer))
  if (code !== 0) throw new ProgramFailed(program, code, 'it did not come to its end')
}
