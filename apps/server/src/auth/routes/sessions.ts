import { z } from 'zod'
import { AccountView } from '../../accounts/index.ts'
import { ErrorBody, Id, listAnswer, listOf, PageQuery, Time, type App } from '../../platform/http/index.ts'
import { Forbidden, NotFound } from '../../platform/errors.ts'
import { changePassword } from '../change-password.ts'
import type { Parts } from '../parts.ts'
import { PasswordText } from '../password/rules.ts'
import { principalOf } from '../principal.ts'
import { listSessions, revokeSession, revokeSessions } from '../session/store.ts'

const SessionView = z.object({
  id: Id,
  device_name: z.string().nullable(),
  client: z.string().nullable(),
  country: z.string().nullable(),
  created_at: Time,
  last_used_at: Time,
  current: z.boolean(),
})

/** Tells a browser to forget what it kept of the account; of cookies ours alone, not those of the whole domain. */
const FORGET = '"cache", "storage"'

/** The caller's own sessions and password. */
export function sessionRoutes(app: App, parts: Parts): void {
  const forget = { 'clear-site-data': FORGET, 'set-cookie': parts.cookies.clear() }

  app.get(
    '/api/v1/auth/csrf',
    {
      config: { needs: 'me:read', duringPasswordChange: true, duringFactorSetup: true },
      schema: {
        tags: ['auth'],
        summary: 'What writes by cookie carry in X-CSRF-Token',
        description: 'Good as long as the session. 403 for a session by token, which needs none.',
        response: { 200: z.object({ csrf_token: z.string() }), 403: ErrorBody },
      },
    },
    async (req) => {
      const hash = req.sessionRow?.secret_hash
      if (!hash) throw new Forbidden('Only a session by cookie has a CSRF token.')
      return { csrf_token: parts.cookies.csrfToken(principalOf(req).sessionId, hash) }
    },
  )

  app.get(
    '/api/v1/auth/sessions',
    {
      config: { needs: 'me:secure' },
      schema: {
        tags: ['auth'],
        summary: 'Where I am signed in',
        querystring: PageQuery,
        response: { 200: listOf(SessionView) },
      },
    },
    async (req) => {
      const me = principalOf(req)
      const { rows, total } = await listSessions(parts.db, me.userId, req.query)
      const data = rows.map((row) => ({ ...row, current: row.id === me.sessionId }))
      return listAnswer(req.url, req.query, total, data)
    },
  )

  app.delete(
    '/api/v1/auth/sessions/:session_id',
    {
      config: { needs: 'me:secure' },
      schema: {
        tags: ['auth'],
        summary: 'End one of my sessions',
        params: z.strictObject({ session_id: Id }),
        response: { 204: z.void(), 404: ErrorBody },
      },
    },
    async (req, reply) => {
      const { userId } = principalOf(req)
      const sessionId = req.params.session_id
      if (!(await revokeSession(parts.db, sessionId, userId))) throw new NotFound('The session')
      await parts.revocations.announce({ userId, sessionId })
      return reply.code(204).send()
    },
  )

  app.post(
    '/api/v1/auth/logout',
    {
      config: { needs: 'me:read', duringPasswordChange: true, duringFactorSetup: true },
      schema: {
        tags: ['auth'],
        summary: 'Sign out',
        description:
          '403 by an API token, which is no session: `DELETE /api/v1/users/me/api-tokens/{token_id}` ends one.',
        body: z.strictObject({}),
        response: { 204: z.void() },
      },
    },
    async (req, reply) => {
      const { userId, sessionId, signedInAt } = principalOf(req)
      if (signedInAt === undefined)
        throw new Forbidden('An API token cannot sign out. Its owner ends it: DELETE /api/v1/users/me/api-tokens/{id}.')
      await revokeSession(parts.db, sessionId, userId)
      await parts.revocations.announce({ userId, sessionId })
      return reply.code(204).headers(forget).send()
    },
  )

  app.post(
    '/api/v1/auth/logout-all',
    {
      config: { needs: 'me:secure', duringPasswordChange: true, duringFactorSetup: true },
      schema: {
        tags: ['auth'],
        summary: 'Sign out everywhere',
        body: z.strictObject({}),
        response: { 204: z.void() },
      },
    },
    async (req, reply) => {
      const { userId } = principalOf(req)
      await revokeSessions(parts.db, userId)
      await parts.revocations.announce({ userId, sessionId: null })
      return reply.code(204).headers(forget).send()
    },
  )

  app.patch(
    '/api/v1/users/me/password',
    {
      config: { needs: 'me:secure', rule: 'AUTH_LOGIN', duringPasswordChange: true },
      schema: {
        tags: ['users'],
        summary: 'Change my password',
        description:
          'Ends the other sessions, and links that were mailed before. 401 when the present password is wrong; the new one must be another.',
        body: z.strictObject({ current_password: PasswordText, new_password: PasswordText }),
        response: { 200: AccountView, 400: ErrorBody, 401: ErrorBody },
      },
    },
    async (req) => changePassword(parts, principalOf(req), req.body, req.id),
  )
}
