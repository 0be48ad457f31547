import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { findTests } from './files.ts'
import { clearRunFolder, makeRunFolder } from './leftovers.ts'
import { runNetworkPass } from './network.ts'

async function tree(t: TestContext, files: Record<string, string>): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'tree-'))
  t.after(() => rm(root, { recursive: true }))
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), text)
  }
  return root
}

test('tests are found by a word in their path, and the network ones kept apart', async (t) => {
  const paths = ['apps/a/src/one.test.ts', 'apps/a/node_modules/no.test.ts', 'e2e/way.e2e.test.ts', 'e2e/web.test.ts']
  const root = await tree(t, Object.fromEntries(paths.map((path) => [path, ''])))
  assert.deepEqual(await findTests(root, []), {
    unit: ['apps/a/src/one.test.ts', 'e2e/web.test.ts'],
    network: ['e2e/way.e2e.test.ts'],
  })
  assert.deepEqual(await findTests(root, ['way', 'one']), {
    unit: ['apps/a/src/one.test.ts'],
    network: ['e2e/way.e2e.test.ts'],
  })
  assert.deepEqual(await findTests(root, ['nothing']), { unit: [], network: [] })
})

test(
  'what a test left running or lying about is gone after the run',
  { skip: process.platform !== 'linux' && 'needs Linux' },
  async () => {
    const folder = await makeRunFolder()
    const child = spawn('sleep', ['60'], { env: { ...process.env, TMPDIR: folder } })
    await once(child, 'spawn')
    await writeFile(join(folder, 'file'), '')
    const ended = once(child, 'exit')
    await clearRunFolder(folder)
    assert.deepEqual(await ended, [null, 'SIGKILL'])
    await assert.rejects(stat(folder), { code: 'ENOENT' })
  },
)

test(
  'a network test sees nothing but its own loopback, and its failure is counted',
  { skip: process.getuid?.() !== 0 && 'needs root' },
  async (t) => {
    const root = await tree(t, {
      'e2e/a.e2e.test.ts': `
      import assert from 'node:assert/strict'
      import { networkInterfaces } from 'node:os'
      import { test } from 'node:test'
      test('alone', () => assert.deepEqual(Object.keys(networkInterfaces()), ['lo']))
      test('wrong', () => assert.fail('on purpose'))
      test('not here', { skip: 'because' }, () => undefined)`,
      'e2e/b.e2e.test.ts': 'process.kill(process.ppid, "SIGKILL")',
    })
    const paths = ['e2e/a.e2e.test.ts', 'e2e/b.e2e.test.ts']
    const { counts, skips } = await runNetworkPass(paths, {
      cwd: root,
      long: false,
      signal: AbortSignal.timeout(60_000),
      output: 'ignore',
    })
    assert.deepEqual(counts, { tests: 4, passed: 1, failed: 2, cancelled: 0, skipped: 1, todo: 0 })
    assert.deepEqual(skips, [{ name: 'not here', why: 'because' }])
  },
)
