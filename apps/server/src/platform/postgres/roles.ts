import { Client } from 'pg'
import { ADMIN_ROLE, APP_ROLE, DATABASE, OWNER_ROLE, socketUrl } from './address.ts'

/** Runs `use` on a connection of the superuser. */
export async function asAdmin<T>(socket: string, database: string, use: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: socketUrl(socket, ADMIN_ROLE, database) })
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

/** Makes the roles and the database that are missing; a cluster whose first start was cut short is completed. */
export async function ensureRoles(socket: string): Promise<void> {
  await asAdmin(socket, 'postgres', async (client) => {
    for (const role of [OWNER_ROLE, APP_ROLE]) {
      const { rowCount } = await client.query('select from pg_roles where rolname = $1', [role])
      if (!rowCount) await client.query(`create role ${role} login nosuperuser nocreatedb nocreaterole noreplication`)
    }
    await client.query(`grant ${APP_ROLE} to ${OWNER_ROLE}`)
    const { rowCount } = await client.query('select from pg_database where datname = $1', [DATABASE])
    if (!rowCount) await client.query(`create database ${DATABASE} owner ${OWNER_ROLE}`)
    await client.query(`revoke all on database ${DATABASE} from public`)
    await client.query(`grant connect on database ${DATABASE} to ${APP_ROLE}`)
  })
}
