import postgres from 'postgres'
import { socketHost } from '../postgres/address.ts'

/** 64-bit integers come and go as bigint: counters stay exact to the edge. */
const types = {
  bigint: { to: 20, from: [20], serialize: (x: bigint) => x.toString(), parse: (x: string) => BigInt(x) },
}

export type Sql = postgres.Sql<{ bigint: bigint }>
export type Tx = postgres.TransactionSql<{ bigint: bigint }>
/** A pool or a transaction: what a store's functions take. */
export type Db = Sql | Tx

export type PoolOptions = {
  /** Connections at most. Above it calls queue. */
  max?: number
  /** Drop to this role at connect, so that run time has no DDL even when one URL serves migrations too. */
  role?: string
  name?: string
}

/**
 * Opens a pool of connections; connects on first use. Sessions run in UTC. A statement that runs longer than 30 s or a
 * transaction that sits idle for 30 s is ended by the server: nothing hangs for ever.
 * @param url postgres://user@host/db; `postgresql+asyncpg://` of older set-ups is understood by `config`
 */
export function openPool(url: string, options: PoolOptions = {}): Sql {
  return postgres(url, {
    ...socketHost(url), // the embedded database's URL names a socket's folder
    types,
    max: options.max ?? 10,
    idle_timeout: 60,
    connect_timeout: 10,
    onnotice: () => undefined,
    connection: {
      application_name: options.name ?? 'prime-vpn',
      TimeZone: 'UTC',
      statement_timeout: 30_000,
      idle_in_transaction_session_timeout: 30_000,
      ...(options.role ? { role: options.role } : {}),
    },
  }) as Sql
}

/** The only row, or undefined. */
export async function maybeOne<T>(rows: PromiseLike<readonly T[]>): Promise<T | undefined> {
  return (await rows)[0]
}

/** The only row; a query that must answer and did not is a fault of ours. */
export async function one<T>(rows: PromiseLike<readonly T[]>): Promise<T> {
  const row = (await rows)[0]
  if (row === undefined) throw new Error('a query that must return a row returned none')
  return row
}

/** The violated constraint's name, when `error` is PostgreSQL's unique, foreign-key, check or exclusion violation. */
export function violatedConstraint(error: unknown): string | undefined {
  return error instanceof postgres.PostgresError && error.code.startsWith('23') ? error.constraint_name : undefined
}
