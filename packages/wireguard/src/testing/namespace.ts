import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { needs, type Part } from './needs.ts'

const MARK = 'WIREGUARD_TEST_NAMESPACE'

/**
 * Runs the tests that `define` registers inside a network namespace of their own: the file is started a second time
 * below `unshare --net`. The namespace has no name and ends with its last process.
 * @param parts what the tests need besides the namespace
 */
export function inNamespace(file: string, parts: Part[], define: () => void): void {
  if (process.env[MARK] !== undefined) {
    spawnSync('ip', ['link', 'set', 'dev', 'lo', 'up'])
    define()
    return
  }
  test('in a network namespace of their own, these hold', needs('namespace', ...parts), () => {
    // Without its context variable the inner run reports as text and not in the runner's own format.
    const { NODE_TEST_CONTEXT: _, ...env } = process.env
    const inner = spawnSync('unshare', ['--net', process.execPath, '--test-reporter=spec', file], {
      env: { ...env, [MARK]: '1' },
      encoding: 'utf8',
    })
    if (inner.status !== 0) throw new Error(`${inner.stdout}\n${inner.stderr}`)
  })
}

/** An interface name nobody else uses: wireguard-go's sockets are shared by all namespaces of a machine. */
export const testInterface = (letter: string): string => `wgt${process.pid % 100_000}${letter}`
