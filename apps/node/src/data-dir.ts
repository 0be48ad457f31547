import { chmod, mkdir, open, readFile, rename, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { CannotRun } from './failures.ts'

export const DEFAULT_DATA_DIR = '/var/lib/prime-node'

/** The files of a data directory; all 0600 in a directory that is 0700. */
export const FILES = {
  /** Keys and what enrolment gave; never leaves the machine. */
  identity: 'identity.json',
  /** The wanted peers and the interface's settings, as lines. */
  journal: 'peers.journal',
  /** Values of the machine that were there before us. */
  sysctl: 'sysctl.json',
  /** Written before the interface is made: one without a key of that name is ours. */
  made: 'interface.made',
  /** The rules last loaded, for people to read. */
  ruleset: 'ruleset.nft',
  /** Where `status` asks a running agent. */
  socket: 'status.sock',
} as const

/**
 * Makes the data directory, or checks that it belongs to this user alone, and gives its path.
 * @throws {CannotRun} it cannot be made, belongs to somebody else, or is no directory
 */
export async function openDataDir(dir: string): Promise<string> {
  try {
    await makeDirs(resolve(dir))
    const found = await stat(dir)
    if (found.uid !== process.geteuid?.()) throw new CannotRun(`${dir} belongs to another user`)
    if ((found.mode & 0o077) !== 0) await chmod(dir, 0o700)
    return dir
  } catch (error) {
    if (error instanceof CannotRun) throw error
    throw new CannotRun(`the data directory ${dir} cannot be used (${codeOf(error)})`, error)
  }
}

/** Node's own recursive mkdir never returns where a file system refuses with ENOENT, as /proc does. */
async function makeDirs(dir: string): Promise<void> {
  if (await isThere(dir)) return
  if (dirname(dir) !== dir) await makeDirs(dirname(dir))
  await mkdir(dir, { mode: 0o700 }).catch((error: unknown) => {
    if (codeOf(error) !== 'EEXIST') throw error
  })
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    (error: unknown) => {
      if (codeOf(error) === 'ENOENT') return false
      throw error
    },
  )

/** Replaces a file as a whole: after a crash at any moment there is the old text or the new one, never a part. */
export async function writeWhole(path: string, text: string): Promise<void> {
  const draft = `${path}.${process.pid}.tmp`
  const file = await open(draft, 'w', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(draft, path)
  await syncDir(dirname(path))
}

/** The text of a file of the data directory, or null when there is none. */
export async function readIfThere(dir: string, name: string): Promise<string | null> {
  return readFile(join(dir, name), 'utf8').catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return null
    throw new CannotRun(`${join(dir, name)} cannot be read (${codeOf(error)})`, error)
  })
}

/** Makes a rename or removal in this directory last through a power cut. */
export async function syncDir(dir: string): Promise<void> {
  const handle = await open(dir, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** The system's short word for a fault, e.g. `ENOENT`. */
export const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'unknown'
