import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A folder that stands for the temporary one in everything a run starts; the database's user may pass through it. */
export async function makeRunFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'pt-'))
  await chmod(folder, 0o711)
  return folder
}

/** Ends processes that tests started and left running (told by TMPDIR or by their arguments) and removes the folder. */
export async function clearRunFolder(folder: string): Promise<void> {
  for (const name of await readdir('/proc').catch(() => [])) {
    const pid = Number(name)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '')
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (!environment.split('\0').includes(`TMPDIR=${folder}`) && !command.includes(`${folder}/`)) continue
    console.error(`left running by a test, ended now: ${command.replaceAll('\0', ' ').slice(0, 120)}`)
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // it ended by itself in between
    }
  }
  await rm(folder, { recursive: true, force: true, maxRetries: 5 })
}
