import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ProgramFailed, eachLine, run } from './exec.ts'
import { CannotRun } from './failures.ts'

test('words of an argument are never read by a shell', async () => {
  assert.equal((await run('printf', ['%s|', '$(id)', '`id`', 'a;b', '--x'])).stdout, '$(id)|`id`|a;b|--x|')
})

test('a program sees a fixed environment and nothing of ours', async () => {
  process.env['SECRET_OF_TEST'] = 'x'
  const { stdout } = await run('env', [])
  delete process.env['SECRET_OF_TEST']
  const names = stdout
    .trim()
    .split('\n')
    .map((line) => line.split('=')[0])
    .filter((name) => name !== 'NODE_V8_COVERAGE') // Node itself hands it on while coverage is taken
  assert.deepEqual(new Set(names), new Set(['LC_ALL', 'PATH']))
})

test('a program that is not there, fails, hangs or talks too much is an error of its kind', async () => {
  await assert.rejects(run('no-such-program-here', []), CannotRun)
  await assert.rejects(run('false', []), (error) => error instanceof ProgramFailed && error.code === 1)
  assert.equal((await run('false', [], { expect: [1] })).code, 1)
  await assert.rejects(run('sleep', ['5'], { timeoutMs: 50 }), /no end within 50 ms/)
  await assert.rejects(run('yes', [], { maxBytes: 1000 }), ProgramFailed)
})

test('a program that reads gets the end of its input', async () => {
  assert.equal((await run('cat', [])).stdout, '')
})

test('long output is handed over line by line', async () => {
  let lines = 0
  await eachLine('seq', ['20000'], () => lines++)
  assert.equal(lines, 20_000)
  await assert.rejects(
    eachLine('no-such-program-here', [], () => undefined),
    CannotRun,
  )
})
