import { randomBytes } from 'node:crypto'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import type { FirstAdmin } from './auth/index.ts'

/** Of DATA_DIR: where the first admin's password lies when nobody sits at a terminal to read it. */
const FILE = 'admin-password'

/** Whole or not at all, readable by its owner alone from the first byte on. */
async function writePrivately(path: string, text: string): Promise<void> {
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  const file = await open(draft, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  } finally {
    await file.close()
  }
}

/**
 * What a start says of the first admin. Its one-time password goes to a terminal; where the output is a pipe or a file it
 * would end in a log, so it goes to DATA_DIR/admin-password (0600). A start that finds it changed removes that file.
 * @param where.terminal whether a person sees what the caller prints
 * @returns lines for the output
 * @throws the file cannot be written; the next start makes another password
 */
export async function adminNotices(
  admin: FirstAdmin,
  where: { dataDir: string; terminal: boolean },
): Promise<string[]> {
  const path = resolve(join(where.dataDir, FILE))
  switch (admin.outcome) {
    case 'one-time': {
      if (where.terminal) {
        await rm(path, { force: true })
        return [
          `Admin      ${admin.email}`,
          `Password   ${admin.password}   (shown once, good for 24 h, to be changed at the first sign-in)`,
        ]
      }
      await mkdir(where.dataDir, { recursive: true, mode: 0o711 })
      await writePrivately(path, `${admin.password}\n`)
      return [
        `Admin      ${admin.email}`,
        `Password   is in ${path}   (for its owner's eyes, good for 24 h, to be changed at the first sign-in)`,
      ]
    }
    case 'made':
      return [`Admin      ${admin.email}   (with the password of ADMIN_PASSWORD)`]
    case 'email-taken':
      return [`No admin was made: ${admin.email} belongs to an ordinary account. Set another ADMIN_EMAIL.`]
    case 'told-elsewhere':
      return []
    case 'present':
      await rm(path, { force: true })
      return []
  }
}
