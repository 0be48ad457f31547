import { maybeOne, type Db } from '../../platform/db/index.ts'
import type { Page } from '../../platform/http/index.ts'

export type ClientKind = 'native' | 'web' | 'device'
export type ClientScope = 'openid' | 'email' | 'offline_access' | 'vpn' | 'account' | 'staff'

/** A registered app. All are public: none has a secret. */
export type Client = {
  client_id: string
  name: string
  kind: ClientKind
  redirect_uris: string[]
  scopes: ClientScope[]
  /** Ours: cannot be changed, and may ask for `staff`. */
  shipped: boolean
  created_at: Date
}
export type ClientWish = Pick<Client, 'name' | 'kind' | 'redirect_uris'>

/** What apps registered by staff may ask for. */
const SCOPES = ['openid', 'email', 'offline_access', 'vpn', 'account']
const columns = (db: Db) => db`client_id, name, kind, redirect_uris, scopes, shipped, created_at`

export const clientById = (db: Db, id: string): Promise<Client | undefined> =>
  maybeOne(db<Client[]>`select ${columns(db)} from oauth_clients where client_id = ${id}`)

export async function listClients(db: Db, page: Page): Promise<{ rows: Client[]; total: number }> {
  const rows = await db<Client[]>`
    select ${columns(db)} from oauth_clients order by client_id
     limit ${page.per_page} offset ${(page.page - 1) * page.per_page}`
  const [{ total } = { total: 0n }] = await db<{ total: bigint }[]>`select count(*) as total from oauth_clients`
  return { rows, total: Number(total) }
}

/** @returns undefined when the id is taken */
export const insertClient = (db: Db, id: string, wish: ClientWish): Promise<Client | undefined> =>
  maybeOne(db<Client[]>`
    insert into oauth_clients (client_id, name, kind, redirect_uris, scopes)
    values (${id}, ${wish.name}, ${wish.kind}, ${wish.redirect_uris}, ${SCOPES})
    on conflict do nothing returning ${columns(db)}`)

/** @returns undefined when there is none such that may be changed */
export const updateClient = (db: Db, id: string, wish: ClientWish): Promise<Client | undefined> =>
  maybeOne(db<Client[]>`
    update oauth_clients set name = ${wish.name}, kind = ${wish.kind}, redirect_uris = ${wish.redirect_uris},
           updated_at = clock_timestamp()
     where client_id = ${id} and not shipped returning ${columns(db)}`)

export const deleteClient = (db: Db, id: string) =>
  db`delete from oauth_clients where client_id = ${id} and not shipped`
