import { readFile, realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { run } from './process.ts'

/** The unprivileged user PostgreSQL runs as; it refuses to run as root. */
export type Account = { uid: number; gid: number; name: string }

const OWN_ACCOUNT = 'prime-vpn-db'
const SYSTEM_PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`

async function accounts(): Promise<Account[]> {
  const lines = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n')
  return lines.flatMap((line) => {
    const [name = '', , uid, gid] = line.split(':')
    return uid && gid && Number(uid) > 0 ? [{ name, uid: Number(uid), gid: Number(gid) }] : []
  })
}

/** Makes our own system user, by shadow's or busybox's tool; a read-only system simply keeps its users. */
async function addAccount(): Promise<void> {
  const env = { PATH: SYSTEM_PATH }
  const nologin = ['--home-dir', '/nonexistent', '--no-create-home', '--shell', '/usr/sbin/nologin']
  await run('useradd', ['--system', '--user-group', ...nologin, OWN_ACCOUNT], { env })
    .catch(() => run('adduser', ['-S', '-D', '-H', '-h', '/nonexistent', '-s', '/sbin/nologin', OWN_ACCOUNT], { env }))
    .catch(() => undefined)
}

/**
 * Whom to run PostgreSQL as when we are root: the owner of existing data, else `prime-vpn-db` (made when missing),
 * else `postgres`, else `nobody`. Undefined when we are not root: then it runs as ourselves.
 * @param data folder of the cluster; need not exist
 */
export async function databaseAccount(data: string): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined
  const owner = await stat(data).catch(() => undefined)
  if (owner && owner.uid !== 0) {
    const known = (await accounts()).find((a) => a.uid === owner.uid)
    return known ?? { uid: owner.uid, gid: owner.gid, name: String(owner.uid) }
  }
  if (!(await accounts()).some((a) => a.name === OWN_ACCOUNT)) await addAccount()
  const known = await accounts()
  for (const name of [OWN_ACCOUNT, 'postgres', 'nobody']) {
    const found = known.find((a) => a.name === name)
    if (found) return found
  }
  throw new Error(
    'PostgreSQL does not run as root, and there is no user prime-vpn-db, postgres or nobody to run it as. ' +
      'Add one, start as another user, or set DATABASE_URL.',
  )
}

/** Spawn options for that user. */
export const as = (account: Account | undefined): { uid?: number; gid?: number } =>
  account ? { uid: account.uid, gid: account.gid } : {}

/** Whether the modes of the folder and of all above it let `account` pass through. */
export async function canPass(folder: string, account: Account): Promise<boolean> {
  for (let at = await realpath(folder); ; at = dirname(at)) {
    const { uid, gid, mode } = await stat(at)
    const bit = uid === account.uid ? 0o100 : gid === account.gid ? 0o010 : 0o001
    if (!(mode & bit)) return false
    if (at === dirname(at)) return true
  }
}
