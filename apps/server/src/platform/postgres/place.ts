import { randomUUID } from 'node:crypto'
import { chmod, chown, link, mkdir, mkdtemp, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { canPass, databaseAccount, type Account } from './account.ts'
import { MAX_SOCKET_PATH, socketFile } from './address.ts'

/** Where root keeps what the database's user could not reach in DATA_DIR. */
export const SYSTEM_HOME = '/var/lib/prime-vpn'

/**
 * The folders of one cluster. `root` belongs to us; `data` and `log` to the database's user, and root writes nothing
 * inside those two while it can be helped (a link planted there would lead its hand).
 */
export type Place = {
  root: string
  data: string
  log: string
  lock: string
  socketNote: string
  account: Account | undefined
}

const exists = (path: string): Promise<boolean> => stat(path).then(() => true, () => false) // prettier-ignore

/** The text of DATA_DIR's pointer to a place elsewhere, or undefined. */
const pointed = (dataDir: string): Promise<string | undefined> =>
  readFile(join(dataDir, 'postgres.path'), 'utf8').then(
    (text) => text.trim(),
    () => undefined,
  )

const place = (root: string, account: Account | undefined): Place => ({
  root,
  data: join(root, 'data'),
  log: join(root, 'log'),
  lock: join(root, 'lock'),
  socketNote: join(root, 'socket.path'),
  account,
})

/** The cluster's root below (or pointed to from) a data folder, whether or not it was made yet. */
export async function clusterRoot(dataDir: string): Promise<string> {
  return (await pointed(dataDir)) ?? join(dataDir, 'postgres')
}

/** Makes a place below SYSTEM_HOME and leaves its path in DATA_DIR. The first of two racing processes wins. */
async function moveOut(dataDir: string, account: Account): Promise<string> {
  const root = join(SYSTEM_HOME, randomUUID())
  try {
    if (await mkdir(SYSTEM_HOME, { recursive: true })) await chmod(SYSTEM_HOME, 0o755) // whatever the umask
    if (!(await canPass(SYSTEM_HOME, account))) throw new Error(`${account.name} cannot enter it`)
    await mkdir(root)
  } catch (cause) {
    throw new Error(
      `PostgreSQL runs as ${account.name}, who cannot enter ${dataDir}, and ${SYSTEM_HOME} cannot be used instead. ` +
        `Choose a DATA_DIR that others may pass through (mode 711 is enough), or set DATABASE_URL.`,
      { cause },
    )
  }
  const note = join(dataDir, `postgres.path.${randomUUID()}`)
  await writeFile(note, `${root}\n`, { mode: 0o600 })
  await link(note, join(dataDir, 'postgres.path')).catch(() => rm(root, { recursive: true }))
  await rm(note)
  return clusterRoot(dataDir)
}

/**
 * Settles where the cluster of a data folder lies and who runs it, and makes its outer folders.
 * Modes of folders that exist already are never changed.
 */
export async function settle(dataDir: string): Promise<Place> {
  await mkdir(dataDir, { recursive: true, mode: 0o711 })
  const home = await realpath(dataDir)
  let root = await clusterRoot(home)
  if (root !== join(home, 'postgres') && !(await exists(root))) {
    throw new Error(
      `${join(home, 'postgres.path')} says the database lies in ${root}, but nothing is there. Bring it back, or ` +
        `remove that file to begin with an empty database.`,
    )
  }
  const account = await databaseAccount(join(root, 'data'))
  if (account && root === join(home, 'postgres') && !(await canPass(home, account))) {
    if (await exists(join(root, 'data'))) {
      throw new Error(`The database in ${root} runs as ${account.name}, who cannot enter ${home}: move DATA_DIR back.`)
    }
    root = await moveOut(home, account)
  }
  await mkdir(root, { recursive: true })
  await chmod(root, account ? 0o711 : 0o700)
  const found = place(root, account)
  await mkdir(found.log, { recursive: true, mode: 0o700 })
  if (account) await chown(found.log, account.uid, account.gid)
  return found
}

/**
 * A fresh folder for the socket that only the database's user (and root) may enter: `run` in the place, or when that
 * path is too long for a socket a short one elsewhere. Whatever an earlier run left there goes.
 */
export async function socketFolder({ root, socketNote, account }: Place): Promise<string> {
  await dropSocketFolder(socketNote)
  let folder = join(root, 'run')
  await rm(folder, { recursive: true, force: true })
  if (Buffer.byteLength(socketFile(folder)) > MAX_SOCKET_PATH) folder = await shortFolder(account)
  else await mkdir(folder, { mode: 0o700 })
  if (account) await chown(folder, account.uid, account.gid)
  await writeFile(socketNote, `${folder}\n`, { mode: 0o600 })
  return folder
}

async function shortFolder(account: Account | undefined): Promise<string> {
  for (const parent of [tmpdir(), '/tmp', '/run']) {
    if (Buffer.byteLength(socketFile(join(parent, 'prime-db-xxxxxx'))) > MAX_SOCKET_PATH) continue
    if (account && !(await canPass(parent, account).catch(() => false))) continue
    const made = await mkdtemp(join(parent, 'prime-db-')).catch(() => undefined)
    if (made) return made
  }
  throw new Error('DATA_DIR is too long a path for a Unix socket, and neither the temporary folder nor /run takes one.')
}

/** Where the socket of the running (or last) server lies. */
export const notedSocketFolder = (socketNote: string): Promise<string | undefined> =>
  readFile(socketNote, 'utf8').then(
    (text) => text.trim() || undefined,
    () => undefined,
  )

export async function dropSocketFolder(socketNote: string): Promise<void> {
  const old = await notedSocketFolder(socketNote)
  if (old) await rm(old, { recursive: true, force: true })
  await rm(socketNote, { force: true })
}
