import { readFile, readdir } from 'node:fs/promises'
import os from 'node:os'

/**
 * What a machine without an interface yet would use, told without making one: `kernel` when its WireGuard is loaded or
 * can be, `userspace` otherwise.
 */
export async function kernelBackend(): Promise<'kernel' | 'userspace'> {
  if ((await readdir('/sys/module').catch((): string[] => [])).includes('wireguard')) return 'kernel'
  const base = `/lib/modules/${os.release()}`
  const lists = await Promise.all(
    ['modules.builtin', 'modules.dep'].map((name) => readFile(`${base}/${name}`, 'utf8').catch(() => '')),
  )
  return lists.some((text) => /\/wireguard\.ko/.test(text)) ? 'kernel' : 'userspace'
}
