/** The superuser made by initdb. Used only to make roles and databases, never by features. */
export const ADMIN_ROLE = 'postgres'
/** Owns the database `prime` and its tables; runs migrations; no superuser. */
export const OWNER_ROLE = 'prime_owner'
/** What features run as: may sign in, owns nothing, has only what migrations grant. */
export const APP_ROLE = 'prime_app'
export const DATABASE = 'prime'
/** Only part of the socket's file name; nothing listens on TCP. */
export const PORT = 5432
/** Bytes of a Unix socket's path that every system takes (sun_path is 104 on macOS, 108 on Linux, with a final NUL). */
export const MAX_SOCKET_PATH = process.platform === 'linux' ? 107 : 103

export const socketFile = (directory: string): string => `${directory}/.s.PGSQL.${PORT}`

/** libpq's form for a socket directory: percent-encoded in the place of the host. Understood by pg, kysely and psql. */
export function socketUrl(directory: string, role: string, database: string): string {
  return `postgres://${role}@${encodeURIComponent(directory)}/${encodeURIComponent(database)}`
}

/**
 * What postgres.js needs beside such a URL, since it does not decode the host by itself:
 * `postgres(url, { ...socketHost(url), ... })`. Empty for a URL with an ordinary host.
 */
export function socketHost(url: string): { host?: string } {
  const authority = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(url)?.[1] ?? ''
  const host = decodeURIComponent(authority.slice(authority.lastIndexOf('@') + 1))
  return host.startsWith('/') ? { host } : {}
}
