import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { Sql } from '../platform/db/index.ts'
import { ErrorBody, Id, listAnswer, listOf, PageQuery, plainText, type App } from '../platform/http/index.ts'
import type { AccessEnd } from './ends.ts'
import { AccountView, RoleName } from './schemas.ts'
import { changeRole, changeStatus } from './staff.ts'
import { listAccounts } from './store.ts'

const Target = z.strictObject({ user_id: Id })
const Status = z.strictObject({ is_active: z.boolean(), reason: plainText(1, 500) })

export type AccountRoutesDeps = {
  db: Sql
  /** Everything that ends with an account's access; see `endAccess`. */
  ends: readonly AccessEnd[]
  /** The signed-in caller's id. */
  userIdOf: (req: FastifyRequest) => string
}

/** Staff's view of accounts: list, switch off and on, roles. */
export function accountRoutes(app: App, { db, ends, userIdOf }: AccountRoutesDeps): void {
  app.get(
    '/api/v1/users',
    {
      config: { needs: 'users:read' },
      schema: {
        tags: ['users'],
        summary: 'Accounts, newest first',
        description: '`search` finds a part of the e-mail or name, or an id.',
        querystring: PageQuery.extend({
          search: plainText(1, 200).optional(),
          status: z.enum(['active', 'inactive']).optional(),
        }),
        response: { 200: listOf(AccountView), 403: ErrorBody },
      },
    },
    async (req) => {
      const { page, per_page, ...filter } = req.query
      const { rows, total } = await listAccounts(db, filter, { page, per_page })
      return listAnswer(req.url, { page, per_page }, total, rows)
    },
  )

  app.put(
    '/api/v1/users/:user_id/status',
    {
      config: { needs: 'users:write' },
      schema: {
        tags: ['users'],
        summary: 'Switch an account off or on',
        description: 'Off ends its sessions and tunnels everywhere within a second.',
        params: Target,
        body: Status,
        response: { 200: AccountView, 403: ErrorBody, 404: ErrorBody, 409: ErrorBody },
      },
    },
    async (req) =>
      changeStatus({ db, ends }, { actorId: userIdOf(req), userId: req.params.user_id, requestId: req.id }, req.body),
  )

  app.put(
    '/api/v1/admin/users/:user_id/role',
    {
      config: { needs: 'roles:write' },
      schema: {
        tags: ['users'],
        summary: "Change an account's role",
        description: 'Ends the sessions of the account. The last super admin stays.',
        params: Target,
        body: z.strictObject({ role: RoleName }),
        response: { 200: AccountView, 403: ErrorBody, 404: ErrorBody, 409: ErrorBody },
      },
    },
    async (req) =>
      changeRole(
        { db, ends },
        { actorId: userIdOf(req), userId: req.params.user_id, requestId: req.id },
        req.body.role,
      ),
  )
}
