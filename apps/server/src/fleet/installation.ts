import { randomUUID } from 'node:crypto'
import { one, type Db } from '../platform/db/index.ts'

/** The id of this database's history, made at the first start; racing instances read the same one. */
export async function installationId(db: Db): Promise<string> {
  await db`insert into installation (id) values (${randomUUID()}) on conflict do nothing`
  return (await one(db<{ id: string }[]>`select id from installation`)).id
}
