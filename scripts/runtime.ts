import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'

export const root: string = fileURLToPath(new URL('..', import.meta.url))

/** npm runs scripts with the Node that the lock file pins; typed by hand it may be the machine's older one. */
export function usePinnedNode(): void {
  const pinned = fileURLToPath(new URL('../node_modules/.bin/node', import.meta.url))
  if (Number.parseInt(process.versions.node, 10) >= 24 || !existsSync(pinned)) return
  const { status, signal } = spawnSync(pinned, process.argv.slice(1), { stdio: 'inherit' })
  process.exit(signal ? 128 + constants.signals[signal] : (status ?? 1))
}
