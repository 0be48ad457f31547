import { maybeOne, one, type Db, type Sql, type Tx } from '../platform/db/index.ts'
import type { Page } from '../platform/http/index.ts'
import type { Role } from './permissions.ts'
import type { AccountView } from './schemas.ts'

/** What signing in needs to know; `hashed_password` is null for accounts without one. */
export type Credentials = {
  id: string
  email: string | null
  hashed_password: string | null
  role: Role
  is_active: boolean
  is_verified: boolean
}

/** The columns of `AccountView`, of `users u`. */
const accountColumns = (sql: Db) =>
  (sql as Sql)`u.id, u.email, u.full_name, u.role, u.created_at, u.is_active, u.is_superuser, u.is_verified`

export type NewAccount = {
  id: string
  email: string
  hashedPassword: string
  fullName: string | null
  role?: Role
  verified?: boolean
}

/** Adds the account, or answers undefined when the address belongs to one already. */
export const insertAccount = (db: Db, account: NewAccount): Promise<AccountView | undefined> =>
  maybeOne(db<AccountView[]>`
    insert into users as u (id, email, hashed_password, full_name, role, is_verified)
    values (${account.id}, ${account.email}, ${account.hashedPassword}, ${account.fullName}, ${account.role ?? 'user'},
            ${account.verified ?? false})
    on conflict (lower(email)) do nothing
    returning ${accountColumns(db)}`)

/** Who has the address, null for nobody, and the time that an account of this transaction is made at. */
export const holderOf = (tx: Tx, email: string): Promise<{ holder: string | null; created_at: Date }> =>
  one(tx<{ holder: string | null; created_at: Date }[]>`
    select now() as created_at, (select id from users where lower(email) = lower(${email})) as holder`)

export const accountById = (db: Db, id: string): Promise<AccountView | undefined> =>
  maybeOne(db<AccountView[]>`select ${accountColumns(db)} from users u where u.id = ${id}`)

export const credentialsByEmail = (db: Db, email: string): Promise<Credentials | undefined> =>
  maybeOne(db<Credentials[]>`
    select id, email, hashed_password, role, is_active, is_verified from users where lower(email) = lower(${email})`)

export const credentialsById = (db: Db, id: string): Promise<Credentials | undefined> =>
  maybeOne(db<Credentials[]>`
    select id, email, hashed_password, role, is_active, is_verified from users where id = ${id}`)

/** The account as it is once everybody who was changing it is done, its row locked until the transaction ends. */
export const lockCredentials = (tx: Db, id: string): Promise<Credentials | undefined> =>
  maybeOne(tx<Credentials[]>`
    select id, email, hashed_password, role, is_active, is_verified from users where id = ${id} for no key update`)

export const credentialsByAccountNumber = (db: Db, hash: Buffer): Promise<Credentials | undefined> =>
  maybeOne(db<Credentials[]>`
    select id, email, hashed_password, role, is_active, is_verified from users where account_number_hash = ${hash}`)

/** An account that has no address, hence none to prove. */
export const insertAnonymous = (db: Db, id: string, hash: Buffer) =>
  db`insert into users (id, account_number_hash, is_verified) values (${id}, ${hash}, true)`

/**
 * Sets a new password hash.
 * @param expected only when the stored one still is this; undefined for whatever it is
 * @returns false when it was changed meanwhile
 */
export async function setPassword(db: Db, id: string, hash: string, expected?: string | null): Promise<boolean> {
  const changed = await db`
    update users set hashed_password = ${hash}, updated_at = clock_timestamp()
     where id = ${id} ${expected === undefined ? db`` : db`and hashed_password is not distinct from ${expected}`}`
  return changed.count === 1
}

/** Marks the address as proven. @returns true when this was its first proof */
export async function setVerified(db: Db, id: string, email: string): Promise<boolean> {
  const changed = await db`
    update users set is_verified = true, updated_at = clock_timestamp()
     where id = ${id} and lower(email) = lower(${email}) and not is_verified`
  return changed.count === 1
}

/** The new, proven address. @throws unique violation `users_one_per_email` when another account has it */
export const setEmail = (db: Db, id: string, email: string) =>
  db`update users set email = ${email}, is_verified = true, updated_at = clock_timestamp() where id = ${id}`

export const setFullName = (db: Db, id: string, fullName: string | null) =>
  db`update users set full_name = ${fullName}, updated_at = clock_timestamp() where id = ${id}`

export const setActive = (db: Db, id: string, active: boolean, reason: string) =>
  db`update users set is_active = ${active}, status_reason = ${reason}, updated_at = clock_timestamp() where id = ${id}`

export const setRole = (db: Db, id: string, role: Role) =>
  db`update users set role = ${role}, updated_at = clock_timestamp() where id = ${id}`

export type UserFilter = { search?: string | undefined; status?: 'active' | 'inactive' | undefined }

const likeLiteral = (text: string): string => `%${text.replace(/[\\%_]/g, '\\$&')}%`

function matching(db: Db, { search, status }: UserFilter) {
  const sql = db as Sql
  const like = search === undefined ? '' : likeLiteral(search)
  const found = search === undefined ? sql`true` : sql`(u.email ilike ${like} or u.full_name ilike ${like} or u.id::text = lower(${search}))` // prettier-ignore
  return status === undefined ? found : sql`${found} and u.is_active = ${status === 'active'}`
}

/** A page of accounts, newest first, and how many match. */
export async function listAccounts(
  db: Db,
  filter: UserFilter,
  page: Page,
): Promise<{ rows: AccountView[]; total: number }> {
  const rows = await db<AccountView[]>`
    select ${accountColumns(db)} from users u where ${matching(db, filter)}
     order by u.created_at desc, u.id desc limit ${page.per_page} offset ${(page.page - 1) * page.per_page}`
  const [{ total } = { total: 0n }] = await db<{ total: bigint }[]>`
    select count(*) as total from users u where ${matching(db, filter)}`
  return { rows, total: Number(total) }
}

/** Changes of roles and states follow one another, so that the last super admin cannot be lost to a race. */
const ROLES_LOCK = 7_460_010

export const lockRoles = (db: Db) => db`select pg_advisory_xact_lock(${ROLES_LOCK}::bigint)`

/** The rows as they are once everybody who was changing them is done; what only refers to them (a connect) goes on. */
export const lockAccounts = (db: Db, ids: string[]) =>
  db<{ id: string; role: Role; is_active: boolean }[]>`
    select id, role, is_active from users where id = any (${ids}) order by id for no key update`

export async function otherSuperAdmins(db: Db, id: string): Promise<number> {
  const rows = await db<{ count: bigint }[]>`
    select count(*) from users where role = 'super_admin' and is_active and id <> ${id}`
  return Number(rows[0]?.count ?? 0n)
}

export const anySuperAdmin = (db: Db): Promise<{ id: string; email: string | null } | undefined> =>
  maybeOne(db<{ id: string; email: string | null }[]>`
    select id, email from users where role = 'super_admin' order by created_at limit 1`)
