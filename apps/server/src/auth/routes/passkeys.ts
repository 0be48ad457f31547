import { z } from 'zod'
import { ErrorBody, Id, listAnswer, listOf, PageQuery, type App } from '../../platform/http/index.ts'
import { callerOf } from '../factor/prove.ts'
import type { Parts } from '../parts.ts'
import { passkeySignInOptions, provePasskey } from '../passkey/login.ts'
import { addPasskey, passkeyOptions, removePasskey } from '../passkey/register.ts'
import {
  Assertion,
  CreationOptions,
  NewCredential,
  PasskeyName,
  PasskeyView,
  RequestOptions,
} from '../passkey/schemas.ts'
import { listPasskeys } from '../passkey/store.ts'
import { PasswordText } from '../password/rules.ts'
import { principalOf } from '../principal.ts'
import { assertOwnPage, DeviceName, signIn, SignedIn, SignInQuery } from './signing-in.ts'

const Again = z.strictObject({
  password: PasswordText.optional().meta({ description: 'Needed once the sign-in is 5 minutes old.' }),
})

/** The caller's passkeys. */
function ownPasskeyRoutes(app: App, parts: Parts): void {
  app.post(
    '/api/v1/auth/passkeys/register/options',
    {
      config: { needs: 'me:secure', rule: 'AUTH_LOGIN', duringFactorSetup: true },
      schema: {
        tags: ['auth'],
        summary: 'Begin to add a passkey',
        description: 'For `PublicKeyCredential.parseCreationOptionsFromJSON()`. Good for 5 minutes, once.',
        body: Again,
        response: { 200: CreationOptions, 401: ErrorBody },
      },
    },
    async (req) => passkeyOptions(parts, principalOf(req), req.body.password),
  )

  app.post(
    '/api/v1/auth/passkeys/register/verify',
    {
      config: { needs: 'me:secure', rule: 'AUTH_LOGIN', duringFactorSetup: true, idempotent: true },
      schema: {
        tags: ['auth'],
        summary: 'Add the passkey',
        description: '`credential` is `credential.toJSON()` of the browser. Ends the other sessions.',
        body: z.strictObject({ credential: NewCredential, name: PasskeyName.optional() }),
        response: { 201: PasskeyView, 400: ErrorBody, 409: ErrorBody },
      },
    },
    async (req, reply) => {
      const { credential, name } = req.body
      return reply
        .code(201)
        .send(await addPasskey(parts, principalOf(req), { credential, name }, req.id, req.idempotency))
    },
  )

  app.get(
    '/api/v1/auth/passkeys',
    {
      config: { needs: 'me:secure' },
      schema: {
        tags: ['auth'],
        summary: 'My passkeys',
        querystring: PageQuery,
        response: { 200: listOf(PasskeyView) },
      },
    },
    async (req) => {
      const { rows, total } = await listPasskeys(parts.db, principalOf(req).userId, req.query)
      return listAnswer(req.url, req.query, total, rows)
    },
  )

  app.delete(
    '/api/v1/auth/passkeys/:passkey_id',
    {
      config: { needs: 'me:secure', rule: 'AUTH_LOGIN' },
      schema: {
        tags: ['auth'],
        summary: 'Remove a passkey',
        description: 'Ends the other sessions.',
        params: z.strictObject({ passkey_id: Id }),
        body: Again,
        response: { 204: z.void(), 401: ErrorBody, 404: ErrorBody },
      },
    },
    async (req, reply) => {
      const wish = { id: req.params.passkey_id, password: req.body.password }
      await removePasskey(parts, principalOf(req), wish, req.id)
      return reply.code(204).send()
    },
  )
}

/** Passkeys (WebAuthn): adding, removing, signing in. */
export function passkeyRoutes(app: App, parts: Parts): void {
  ownPasskeyRoutes(app, parts)

  app.post(
    '/api/v1/auth/passkeys/login/options',
    {
      config: { needs: 'public' },
      schema: {
        tags: ['auth'],
        summary: 'Begin to sign in by a passkey',
        description: 'For `PublicKeyCredential.parseRequestOptionsFromJSON()`. Good for 5 minutes, once.',
        body: z.strictObject({}),
        response: { 200: RequestOptions },
      },
    },
    async () => passkeySignInOptions(parts),
  )

  app.post(
    '/api/v1/auth/passkeys/login/verify',
    {
      config: { needs: 'public', rule: 'AUTH_LOGIN' },
      schema: {
        tags: ['auth'],
        summary: 'Sign in by a passkey',
        description: 'Stands for password and second factor, since the device verified its user.',
        querystring: SignInQuery,
        body: z.strictObject({ credential: Assertion, device_name: DeviceName.optional() }),
        response: { 200: SignedIn, 400: ErrorBody, 401: ErrorBody, 403: ErrorBody },
      },
    },
    async (req, reply) => {
      assertOwnPage(parts, req)
      const proven = await provePasskey(parts, req.body.credential, callerOf(req))
      return signIn(parts, req, reply, proven, req.body.device_name)
    },
  )
}
