import type { Tx } from '../platform/db/index.ts'

/** Why an account loses what it holds. */
export type EndReason = 'deactivated' | 'role_changed' | 'password_reset' | 'first_verified'

/**
 * A higher room's part in taking access away: sessions, devices, tunnels. Runs in the transaction of the cause.
 * @returns what to announce once the transaction is committed
 */
export type AccessEnd = (tx: Tx, userId: string, why: EndReason) => Promise<(() => Promise<void>) | undefined>

/**
 * Ends everything the rooms hold for the account. `ends` is read at each call, so that rooms made later are heard too.
 * @returns the announcements; call it after the commit
 */
export async function endAccess(
  tx: Tx,
  ends: readonly AccessEnd[],
  userId: string,
  why: EndReason,
): Promise<() => Promise<void>> {
  const announcements: (() => Promise<void>)[] = []
  for (const end of ends) {
    const announce = await end(tx, userId, why)
    if (announce) announcements.push(announce)
  }
  return async () => {
    for (const announce of announcements) await announce()
  }
}
