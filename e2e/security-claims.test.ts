import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const text = readFileSync(`${root}docs/security.md`, 'utf8')
const AREAS = /^(?:apps|packages|e2e|deploy|docs|bench|scripts)\/|^\.?[\w-]+\.json$|^\.oxlintrc/

/** Every file the document names, with the tests it quotes of it. */
function claims(): { file: string; tests: string[] }[] {
  return [...text.matchAll(/`([\w./-]+\.(?:ts|json|service|md))`((?: \((?:`[^`]*`)\)|,? "[^"|]+")*)/g)].map(
    ([, path = '', quoted = '']) => ({
      file: AREAS.test(path) ? path : `apps/server/src/${path}`,
      tests: [...quoted.matchAll(/"([^"]+)"/g)].map(([, name = '']) => name),
    }),
  )
}

test('every file and every test that the security document names is there', () => {
  const all = claims()
  assert.ok(all.length > 150, `${all.length} claims`)
  const missing = all.flatMap(({ file, tests }) => {
    if (!existsSync(root + file)) return [file]
    const content = readFileSync(root + file, 'utf8')
    return tests.filter((name) => !content.includes(name)).map((name) => `${file}: ${name}`)
  })
  assert.deepEqual(missing, [])
})

test('a test is quoted with the name of its file in front', () => {
  for (const line of text.split('\n').filter((l) => l.startsWith('|'))) {
    const quoted = (line.match(/"[^"|]+"/g) ?? []).length
    const behindFiles = [...line.matchAll(/`[\w./-]+\.test\.ts`((?:,? "[^"|]+")*)/g)].reduce(
      (n, [, names = '']) => n + (names.match(/"[^"]+"/g) ?? []).length,
      0,
    )
    assert.equal(behindFiles, quoted, line.slice(0, 120))
  }
})
