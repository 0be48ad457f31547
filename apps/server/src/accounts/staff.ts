import { audit } from '../platform/audit.ts'
import type { Sql, Tx } from '../platform/db/index.ts'
import { Conflict, Forbidden, NotFound } from '../platform/errors.ts'
import { endAccess, type AccessEnd } from './ends.ts'
import { isAtLeast, type Role } from './permissions.ts'
import type { AccountView } from './schemas.ts'
import { accountById, lockAccounts, lockRoles, otherSuperAdmins, setActive, setRole } from './store.ts'

export type StaffDeps = { db: Sql; ends: readonly AccessEnd[] }
/** Who acts, on whom, under which request. */
export type StaffAct = { actorId: string; userId: string; requestId: string }

type Locked = { role: Role; is_active: boolean }

/**
 * Both rows, locked, and the actor judged by what the row says now: a role that was lowered a moment ago gives no power.
 * @throws {Forbidden} {NotFound}
 */
async function lockPair(tx: Tx, act: StaffAct, least: Role): Promise<{ actor: Locked; target: Locked }> {
  await lockRoles(tx)
  const rows = await lockAccounts(tx, [act.actorId, act.userId])
  const actor = rows.find(({ id }) => id === act.actorId)
  if (!actor?.is_active || !isAtLeast(actor.role, least)) throw new Forbidden()
  const target = rows.find(({ id }) => id === act.userId)
  if (!target) throw new NotFound('The user')
  if (target.role === 'super_admin' && actor.role !== 'super_admin')
    throw new Forbidden('Only a super admin may change a super admin.')
  return { actor, target }
}

async function keepOneSuperAdmin(tx: Tx, userId: string): Promise<void> {
  if ((await otherSuperAdmins(tx, userId)) === 0) throw new Conflict('The last super admin must stay.')
}

/**
 * For who leaves by their own wish. Holds the lock of roles until the transaction ends.
 * @throws {Conflict} this is the last super admin
 */
export async function assertSuperAdminRemains(tx: Tx, userId: string): Promise<void> {
  await lockRoles(tx)
  const [row] = await lockAccounts(tx, [userId])
  if (row?.role === 'super_admin') await keepOneSuperAdmin(tx, userId)
}

async function changed(tx: Tx, userId: string): Promise<AccountView> {
  const view = await accountById(tx, userId)
  if (!view) throw new NotFound('The user')
  return view
}

/**
 * Switches an account off or on. Off ends its sessions and tunnels in the same transaction.
 * @throws {Forbidden} {NotFound} {Conflict} the last super admin
 */
export async function changeStatus(
  { db, ends }: StaffDeps,
  act: StaffAct,
  wish: { is_active: boolean; reason: string },
): Promise<AccountView> {
  const { view, announce } = await db.begin(async (tx) => {
    const { target } = await lockPair(tx, act, 'admin')
    if (!wish.is_active && target.role === 'super_admin') await keepOneSuperAdmin(tx, act.userId)
    await setActive(tx, act.userId, wish.is_active, wish.reason)
    const announce = wish.is_active ? undefined : await endAccess(tx, ends, act.userId, 'deactivated')
    await audit(tx, {
      actor: act.actorId,
      action: wish.is_active ? 'user.activated' : 'user.deactivated',
      subject: { type: 'user', id: act.userId },
      fields: ['is_active', 'status_reason'],
      requestId: act.requestId,
    })
    return { view: await changed(tx, act.userId), announce }
  })
  await announce?.()
  return view
}

/**
 * Gives an account another role and ends its sessions, since they were opened under the old one.
 * @throws {Forbidden} {NotFound} {Conflict} the last super admin
 */
export async function changeRole({ db, ends }: StaffDeps, act: StaffAct, role: Role): Promise<AccountView> {
  const { view, announce } = await db.begin(async (tx) => {
    const { target } = await lockPair(tx, act, 'super_admin')
    if (target.role === role) return { view: await changed(tx, act.userId), announce: undefined }
    if (target.role === 'super_admin') await keepOneSuperAdmin(tx, act.userId)
    await setRole(tx, act.userId, role)
    const announce = await endAccess(tx, ends, act.userId, 'role_changed')
    await audit(tx, {
      actor: act.actorId,
      action: 'user.role_changed',
      subject: { type: 'user', id: act.userId },
      fields: ['role'],
      requestId: act.requestId,
    })
    return { view: await changed(tx, act.userId), announce }
  })
  await announce?.()
  return view
}
