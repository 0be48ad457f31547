import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A folder of a run's own; the database's user may pass through it. */
export async function makeRunFolder(parent: string = tmpdir()): Promise<string> {
  const folder = await mkdtemp(join(parent, 'pt-'))
  await chmod(folder, 0o711)
  return folder
}

/** Ends processes that tests started and left running (told by TMPDIR or by their arguments) and removes the folders. */
export async function clearRunFolder(...folders: string[]): Promise<void> {
  for (const name of await readdir('/proc').catch(() => [])) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    const environment = (await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')).split('\0')
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (!folders.some((f) => environment.includes(`TMPDIR=${f}`) || command.includes(`${f}/`))) continue
    console.error(`left running by a test, ended now: ${command.replaceAll('\0', ' ').slice(0, 120)}`)
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // it ended by itself in between
    }
  }
  for (const folder of folders) await rm(folder, { recursive: true, force: true, maxRetries: 5 })
}
