import { z } from 'zod'
import type { Sql } from '../../platform/db/index.ts'
import { Count, ErrorBody, Id, listAnswer, listOf, PageQuery, Time, type App } from '../../platform/http/index.ts'

const AuditRow = z
  .object({
    id: Count,
    at: Time,
    actor_id: Id.nullable(),
    action: z.string(),
    subject_type: z.string().nullable(),
    subject_id: z.string().nullable(),
    fields: z.array(z.string()),
    request_id: z.string().nullable(),
  })
  .meta({ id: 'AuditRow', description: 'Ids and names of changed fields; never addresses or e-mails.' })

const Query = PageQuery.extend({
  actor_id: Id.optional(),
  action: z.string().max(100).optional(),
  subject_id: z.string().max(100).optional(),
})

type Row = z.infer<typeof AuditRow>

/** What staff did, newest first; the table takes no change and no deletion from the service's role. */
export function auditRoutes(app: App, db: Sql): void {
  app.get(
    '/api/v1/admin/audit-log',
    {
      config: { needs: 'audit:read' },
      schema: {
        tags: ['admin: protection'],
        summary: 'The audit log',
        querystring: Query,
        response: { 200: listOf(AuditRow), 400: ErrorBody, 401: ErrorBody, 403: ErrorBody },
      },
    },
    async (req) => {
      const { actor_id: actor, action, subject_id: subject, page, per_page } = req.query
      const where = db`where (${actor ?? null}::uuid is null or actor_id = ${actor ?? null})
        and (${action ?? null}::text is null or action = ${action ?? null})
        and (${subject ?? null}::text is null or subject_id = ${subject ?? null})`
      const [count] = await db<{ n: number }[]>`select count(*)::int as n from audit_log ${where}`
      const rows = await db<Row[]>`
        select id, at, actor_id, action, subject_type, subject_id, fields, request_id from audit_log ${where}
         order by id desc limit ${per_page} offset ${(page - 1) * per_page}`
      return listAnswer(req.url, { page, per_page }, count?.n ?? 0, [...rows])
    },
  )
}
