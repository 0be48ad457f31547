import { spawn, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export const MAIN = fileURLToPath(new URL('../apps/node/src/main.ts', import.meta.url))

export type Ended = { code: number | null; signal: NodeJS.Signals | null; stdout: string; stderr: string }

/** A prime-node process, with what it said and how it ended. */
export class AgentProcess {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  #stderr = ''

  constructor(args: string[], command: string[] = [process.execPath, MAIN], input?: string) {
    const [program = '', ...before] = command
    const env = { PATH: process.env['PATH'] ?? '', LOG_LEVEL: 'debug' }
    this.child = spawn(program, [...before, ...args], { env, stdio: ['pipe', 'pipe', 'pipe'] })
    this.child.stdin?.end(input ?? '')
    let stdout = ''
    this.child.stdout?.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
    this.child.stderr?.on('data', (chunk: Buffer) => (this.#stderr += chunk.toString()))
    this.ended = new Promise((resolve) => {
      this.child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr: this.#stderr }))
    })
  }

  get said(): string {
    return this.#stderr
  }

  /** Resident memory in bytes. */
  async memory(): Promise<number> {
    const { readFile } = await import('node:fs/promises')
    const text = await readFile(`/proc/${this.child.pid}/status`, 'utf8')
    return Number(/VmRSS:\s+(\d+)/.exec(text)?.[1]) * 1024
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    this.child.kill(signal)
    return this.ended
  }
}

/** Runs one command to its end. */
export const prime = (...args: string[]): Promise<Ended> => new AgentProcess(args).ended

/** Asks again until it holds. @throws when it does not within `ms` */
export async function eventually(what: string, holds: () => boolean | Promise<boolean>, ms = 5_000): Promise<void> {
  const deadline = performance.now() + ms
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`)
    await new Promise((resolve) => void setTimeout(resolve, 20))
  }
}
