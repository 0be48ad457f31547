/** `npm run check`: types, lint, form, import directions and the drift of openapi.json, each told in a line. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { root, usePinnedNode } from './runtime.ts'

usePinnedNode()

const bin = (name: string): string => join(root, 'node_modules/.bin', name)
const openapi = join(root, 'scripts/openapi.ts')

const steps: [name: string, program: string, args: string[]][] = [
  ['types', bin('tsc'), ['--noEmit']],
  ['lint', bin('oxlint'), ['--deny-warnings']],
  ['form', bin('prettier'), ['--check', '--log-level', 'warn', '.']],
  ['directions', process.execPath, [join(root, 'scripts/directions.ts')]],
]
if (existsSync(openapi)) steps.push(['openapi', process.execPath, [openapi, '--check']])

let failed = 0
for (const [name, program, args] of steps) {
  const began = performance.now()
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  const good = status === 0
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  const said = `${stdout ?? ''}${stderr ?? ''}${error ? error.message : ''}`.trim()
  if (!good) failed++
  if (!good && said) console.log(said)
  console.log(
    `${good ? 'ok  ' : 'FAIL'} ${name.padEnd(11)} ${seconds} s${good && name === 'directions' ? `  ${said}` : ''}`,
  )
}
process.exit(failed ? 1 : 0)
