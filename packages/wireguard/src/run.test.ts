import assert from 'node:assert/strict'
import { readFileSync, readlinkSync } from 'node:fs'
import { test } from 'node:test'
import { DriverFailed, WireguardUnavailable } from './errors.ts'
import { fdPath, run, ToolFailed, withSecrets } from './run.ts'

test('a program gets its arguments as they are and nothing of our environment', async () => {
  process.env['SECRET_OF_OURS'] = 'x'
  const environment = (await run('env', [])).split('\n').map((line) => line.split('=')[0])
  // Node itself hands NODE_V8_COVERAGE on while coverage is taken.
  assert.deepEqual(
    environment.filter((name) => name && name !== 'NODE_V8_COVERAGE'),
    ['PATH', 'LC_ALL'],
  )
  assert.equal(await run('printf', ['%s|', 'a b', '$(id)', ';', '']), 'a b|$(id)|;||')
})

test('secrets are read by path, have no name meanwhile, and are gone afterwards', async () => {
  const seen = await withSecrets(['first\n', 'second\n'], async (fds) => {
    for (const fd of fds) assert.match(readlinkSync(`/proc/self/fd/${fd}`), / \(deleted\)$/)
    return { fds, text: await run('cat', [fdPath(0), fdPath(1)], fds) }
  })
  assert.equal(seen.text, 'first\nsecond\n')
  for (const fd of seen.fds) assert.throws(() => readFileSync(fd), { code: 'EBADF' })
})

test('secrets are gone also when the program fails', async () => {
  let kept = -1
  await assert.rejects(
    withSecrets(['secret\n'], ([fd = -1]) => run('false', [], [(kept = fd)])),
    DriverFailed,
  )
  assert.throws(() => readFileSync(kept), { code: 'EBADF' })
})

test('a program that fails, is ended or does not exist is told without its arguments', async () => {
  await assert.rejects(
    run('cat', ['/no/such/file']),
    (err) => err instanceof ToolFailed && !err.message.includes('/no') && err.stderr.includes('/no/such/file'),
  )
  await assert.rejects(
    run('no-such-program-anywhere', []),
    (err) => err instanceof WireguardUnavailable && err.reason === 'no-tool',
  )
})
