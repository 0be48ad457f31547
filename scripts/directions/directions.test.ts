import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { checkDirections } from '../directions.ts'
import { importsOf } from './modules.ts'

/** Faults of a made-up tree: paths with their text. */
async function faultsIn(t: TestContext, files: Record<string, string>): Promise<string[]> {
  const root = await mkdtemp(join(tmpdir(), 'tree-'))
  t.after(() => rm(root, { recursive: true }))
  const packages = Object.fromEntries(
    ['server', 'cli', 'node'].map((app) => [`apps/${app}/package.json`, JSON.stringify({ name: `@prime-vpn/${app}` })]),
  )
  for (const [path, text] of Object.entries({ ...packages, ...files })) {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), text)
  }
  return (await checkDirections(root)).faults
}

const server = (path: string) => `apps/server/src/${path}`

test('a tree that points down and through faces has no fault', async (t) => {
  assert.deepEqual(
    await faultsIn(t, {
      [server('main.ts')]: `import { a } from './admin/index.ts'\nimport { db } from './platform/db/index.ts'`,
      [server('admin/routes.ts')]: `import type { T } from '../tunnels/index.ts'\nexport * from './store.ts'`,
      [server('tunnels/connect.ts')]:
        `import {\n  a,\n  b,\n} from '../devices/index.ts'\nimport '../platform/errors.ts'`,
      [server('tunnels/connect.test.ts')]:
        `import { x } from '../admin/store.ts'\nimport '../platform/testing/index.ts'`,
      'apps/cli/src/prime.ts': `const server = await import('@prime-vpn/server')`,
      'apps/node/src/main.ts': `import { Peer } from '@prime-vpn/node-protocol'`,
      'e2e/all.e2e.test.ts': `import '../apps/server/src/tunnels/store.ts'`,
    }),
    [],
  )
})

const wrong: [what: string, path: string, text: string, why: RegExp][] = [
  ['an import up', server('devices/add.ts'), `import { t } from '../tunnels/index.ts'`, /points up: tunnels stands above devices/],
  ['an import around a face', server('admin/x.ts'), `import { s } from '../fleet/store.ts'`, /goes around the face of fleet/],
  ['an import around a face by the root', server('main.ts'), `import { s } from './fleet/store.ts'`, /goes around the face of fleet/],
  ['platform knowing a room', server('platform/db/pool.ts'), `import '../../accounts/index.ts'`, /points up: accounts/],
  ['protection knowing a feature', server('protection/limit.ts'), `import '../auth/index.ts'`, /points up: auth/],
  ['a room knowing the root', server('auth/login.ts'), `import '../main.ts'`, /does not know who puts it together/],
  ['a room nobody listed', server('extra/x.ts'), `import '../platform/errors.ts'`, /room extra has no place/],
  ['a dynamic import up', server('auth/login.ts'), `const x = await import('../admin/index.ts')`, /points up: admin/],
  ['a test helper in the product', server('auth/login.ts'), `import '../platform/testing/index.ts'`, /imported by what is no test/],
  ['a package importing an app', 'packages/wireguard/src/x.ts', `import '@prime-vpn/server'`, /a package imports no app/],
  ['an app importing another', 'apps/node/src/x.ts', `import '@prime-vpn/server'`, /apps\/node may not import/],
  ['the command line reaching past the face', 'apps/cli/src/x.ts', `import '@prime-vpn/server/store'`, /apps\/cli may not import/],
  ['a path into another workspace', 'apps/node/src/x.ts', `import '../../../packages/wireguard/src/keys.ts'`, /by its name/],
] // prettier-ignore

for (const [what, path, text, why] of wrong) {
  test(`${what} is a fault`, async (t) => {
    const faults = await faultsIn(t, { [path]: text })
    assert.equal(faults.length, 1)
    assert.match(faults[0] ?? '', why)
  })
}

test('a tree in which nothing is seen is a fault, not a success', async (t) => {
  assert.match((await faultsIn(t, {}))[0] ?? '', /the check itself is broken/)
})

test('imports are found over several lines, with types, side effects and re-exports; comments and strings are not', () => {
  const text = `import a from './a'
import type {
  B,
} from "./b"
import './c'
export { d } from './d'
export * as e from './e'
// import f from './f'
const g = "import g from './g'"
export const h = './h'
`
  assert.deepEqual(importsOf(text), ['./a', './b', './c', './d', './e'])
})
