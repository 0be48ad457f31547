/**
 * `npm test [-- words...] [--long]`: every test of the project, or those whose path holds one of the words. Brings its
 * own services: one PostgreSQL for the run; each test that needs Redis starts one.
 */
import { parseArgs } from 'node:util'
import { startEmbeddedPostgres } from '../apps/server/src/platform/postgres/index.ts'
import { clusterParent } from '../apps/server/src/platform/testing/folder.ts'
import { root, usePinnedNode } from './runtime.ts'
import { findTests } from './test/files.ts'
import { clearRunFolder, makeRunFolder } from './test/leftovers.ts'
import { runNetworkPass } from './test/network.ts'
import { runPass } from './test/pass.ts'
import { closingLines, merge, verdict, type Outcome } from './test/report.ts'
import { ensureTools, PATH } from './test/tools.ts'

usePinnedNode()
const { positionals: words, values } = parseArgs({ allowPositionals: true, options: { long: { type: 'boolean' } } })
const long = values.long === true
const began = performance.now()
const stopping = new AbortController()
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopping.abort())

const files = await findTests(root, words)
ensureTools(
  [...files.unit, ...files.network].some((path) => path.startsWith('apps/web/') || path.startsWith('e2e/passkey')),
)
const folder = await makeRunFolder() // stands for the temporary one in everything that tests start
const clusterFolder = await makeRunFolder(await clusterParent())
Object.assign(process.env, { PATH, TMPDIR: folder, ...(long ? { PRIME_LONG: '1' } : {}) })

async function runAll(): Promise<Outcome> {
  const log = { info() {}, warn: console.warn, error: console.error }
  const postgres = await startEmbeddedPostgres({ dataDir: clusterFolder, log, durability: 'throwaway' })
  process.env.PRIME_TEST_POSTGRES = postgres.socket
  try {
    const signal = stopping.signal
    const unit = await runPass(files.unit, { cwd: root, coverage: words.length === 0, long, signal })
    return merge([unit, await runNetworkPass(files.network, { cwd: root, long, signal })])
  } finally {
    await postgres.stop()
  }
}

let fault: string | undefined
try {
  const outcome = await runAll()
  fault = stopping.signal.aborted ? 'stopped' : verdict(outcome, process.env.CI === 'true')
  await clearRunFolder(folder, clusterFolder)
  if (fault) console.error(fault)
  console.log(closingLines(outcome, performance.now() - began).join('\n'))
} catch (error) {
  fault = 'stopped'
  await clearRunFolder(folder, clusterFolder)
  console.error(error)
}
process.exit(fault ? 1 : 0)
