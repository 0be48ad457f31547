/**
 * `node scripts/openapi.ts` writes packages/api-client/openapi.json from the code; `--check` fails when it differs.
 * The rooms need a database to be built, so an embedded one is started for the moment.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { composeServer } from '../apps/server/src/compose.ts'
import { parseConfig } from '../apps/server/src/platform/config/index.ts'
import { createLog } from '../apps/server/src/platform/log.ts'
import { openapiDocument } from '../apps/server/src/platform/openapi/index.ts'
import { readProtectionConfig } from '../apps/server/src/protection/index.ts'
import { startFoundation } from '../apps/server/src/start.ts'
import { root } from './runtime.ts'

const target = join(root, 'packages/api-client/openapi.json')

async function generate(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'prime-openapi-'))
  const config = parseConfig({ DATA_DIR: folder, LOG_LEVEL: 'error' })
  const log = createLog('error')
  const foundation = await startFoundation(config, log)
  try {
    const server = await composeServer(config, readProtectionConfig({}).config, foundation, log)
    await server.app.ready()
    const text = `${JSON.stringify(openapiDocument(server.app), null, 2)}\n`
    await server.stop()
    return text
  } finally {
    await foundation.stop()
    await rm(folder, { recursive: true, force: true })
  }
}

const text = await generate()
if (process.argv.includes('--check')) {
  const present = await readFile(target, 'utf8').catch(() => '')
  if (present !== text) {
    console.error('packages/api-client/openapi.json is not what the code says: run node scripts/openapi.ts')
    process.exit(1)
  }
} else {
  await writeFile(target, text)
}
