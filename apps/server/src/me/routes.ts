import { z } from 'zod'
import { AccountView, FullName, NewEmail } from '../accounts/index.ts'
import { PasswordText, principalOf, type Auth } from '../auth/index.ts'
import { Device } from '../devices/index.ts'
import { ErrorBody, Id, Time, type App } from '../platform/http/index.ts'
import { changeMe } from './change.ts'
import { privacyRoutes, type EraseDeps } from './privacy/index.ts'
import { meOf, readMe, readSessionsAndMe } from './read.ts'

const MeView = AccountView.extend({
  subscription: z.object({
    plan: z.string(),
    plan_type: z.enum(['monthly', 'yearly', 'free']),
    status: z.enum(['active', 'past_due', 'canceled']),
    start_date: Time,
    end_date: Time.nullable(),
    expiry_date: Time.nullable(),
    auto_renew: z.boolean(),
  }),
  devices: z.array(Device),
})

export type MeDeps = EraseDeps & { auth: Pick<Auth, 'requestEmailChange'> }

/** The signed-in user as one object, and the same object for staff. */
export function meRoutes(app: App, deps: MeDeps): void {
  privacyRoutes(app, deps)

  app.get(
    '/api/v1/users/me',
    {
      config: { needs: 'me:read', readSession: readSessionsAndMe },
      schema: { tags: ['users'], summary: 'My account, subscription and devices', response: { 200: MeView } },
    },
    async (req) => meOf(req, deps.db),
  )

  app.put(
    '/api/v1/users/me',
    {
      config: { needs: 'me:write', rule: 'AUTH_LOGIN' },
      schema: {
        tags: ['users'],
        summary: 'Change my name or e-mail address',
        description:
          'A new address needs the present password and counts once the mail sent to it was answered; until then the answer shows the old one.',
        body: z.strictObject({
          full_name: FullName.nullable().optional(),
          email: NewEmail.optional(),
          password: PasswordText.optional(),
        }),
        response: { 200: MeView, 400: ErrorBody, 401: ErrorBody },
      },
    },
    async (req) => {
      const caller = principalOf(req)
      await changeMe(deps, caller, req.body, req.raw)
      return readMe(deps.db, caller.userId)
    },
  )

  app.get(
    '/api/v1/users/:user_id',
    {
      config: { needs: 'users:read' },
      schema: {
        tags: ['users'],
        summary: 'One account as its owner sees it',
        params: z.strictObject({ user_id: Id }),
        response: { 200: MeView, 403: ErrorBody, 404: ErrorBody },
      },
    },
    async (req) => readMe(deps.db, req.params.user_id),
  )
}
