import type { Db } from '../platform/db/index.ts'
import { NotFound } from '../platform/errors.ts'
import type { AdminServer } from './schemas.ts'
import { adminServer } from './server-store.ts'

/** A server as staff see it. @throws {NotFound} */
export async function readServer(db: Db, id: string): Promise<AdminServer> {
  const server = await adminServer(db, id)
  if (!server) throw new NotFound('The server')
  return server
}
