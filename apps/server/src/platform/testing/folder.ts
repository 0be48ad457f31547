import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defer, type Scope } from './defer.ts'

/**
 * A folder that goes with its scope.
 * @param mode 0711 lets the embedded database's user pass through; 0700 is what only we may enter
 */
export async function temporaryFolder(scope: Scope, mode = 0o711): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'prime-test-'))
  await chmod(folder, mode)
  defer(scope, () => rm(folder, { recursive: true, force: true }))
  return folder
}
