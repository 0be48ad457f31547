import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Provider } from 'oidc-provider'
import { z } from 'zod'
import type { App } from '../../platform/http/index.ts'
import { notePoll, sha256 } from './artifact-store.ts'
import { DEVICE_GRANT } from './client-metadata.ts'
import { answerOAuthErrors } from './errors.ts'
import { formOf, useForms, type Form } from './forms.ts'
import type { OAuthParts } from './provider.ts'
import { looksLikeJwt, revokeByAccessToken } from './revoke.ts'
import { letProviderAnswer } from './stand-in.ts'

const anyQuery = z.looseObject({})

/** RFC 8628, 3.5, which the provider leaves to us: who asks too often hears so, and waits longer from then on. */
async function askedTooSoon(parts: OAuthParts, { grant_type, device_code }: Form): Promise<boolean> {
  if (grant_type !== DEVICE_GRANT || device_code === undefined) return false
  return (await notePoll(parts.db, sha256(device_code)))?.too_soon ?? false
}

/** What programs call. */
export function tokenRoutes(app: App, parts: OAuthParts, provider: Provider): void {
  useForms(app)
  answerOAuthErrors(app)
  const handOn = async (req: FastifyRequest, reply: FastifyReply, url: string): Promise<FastifyReply> => {
    const body = new URLSearchParams(formOf(req.body)).toString()
    await letProviderAnswer(provider, parts.publicUrl, req, reply, { url, body, answers: 'json', withoutCookies: true })
    return reply
  }
  const config = { needs: 'public' }
  const schema = (summary: string) => ({ tags: ['oauth'], summary, querystring: anyQuery })

  app.post(
    '/oauth/token',
    { config, schema: schema('Change a code or refresh token for tokens') },
    async (req, reply) => {
      if (await askedTooSoon(parts, formOf(req.body)))
        return reply.code(400).send({ error: 'slow_down', error_description: 'asked too soon: wait 5 seconds more' })
      return handOn(req, reply, '/oauth/token')
    },
  )

  app.post(
    '/oauth/revoke',
    { config, schema: schema('Revoke a token and what was given with it') },
    async (req, reply) => {
      const form = formOf(req.body)
      if (form.token === undefined || !looksLikeJwt(form.token)) return handOn(req, reply, '/oauth/revoke')
      await revokeByAccessToken(parts, form)
      return reply.code(200).send()
    },
  )

  app.post(
    '/oauth/device_authorization',
    { config, schema: schema('Begin to sign in a device (RFC 8628)') },
    async (req, reply) => handOn(req, reply, '/oauth/device_authorization'),
  )
}
