import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Provider } from 'oidc-provider'
import { z } from 'zod'
import type { App } from '../../platform/http/index.ts'
import { answerErrorPages, sendPage } from './errors.ts'
import { formOf, useForms } from './forms.ts'
import { clientStillRegistered, judgeAuthorization, NoRedirect } from './front.ts'
import { prefill, refusedCode } from './pages/device.ts'
import { errorText } from './pages/error.ts'
import type { OAuthParts } from './provider.ts'
import { letProviderAnswer, type Shown } from './stand-in.ts'

const anyQuery = z.looseObject({})
const params = z.object({ uid: z.string() })
const config = { needs: 'public' }
/** A user code fills a field; longer text is none. */
const MAX_USER_CODE = 20

/** What browsers are sent to: the provider's own steps, with our judgement in front. */
export function browserRoutes(app: App, parts: OAuthParts, provider: Provider): void {
  useForms(app)
  answerErrorPages(app)
  const { db, publicUrl } = parts
  const schema = (summary: string) => ({ tags: ['oauth'], summary, querystring: anyQuery })

  const handOn = (req: FastifyRequest, reply: FastifyReply, shown: Shown, prepare?: (seen: object) => void) =>
    letProviderAnswer(provider, publicUrl, req, reply, shown, prepare)

  app.get(
    '/oauth/authorize',
    { config, schema: schema('Begin to sign in for an app'), exposeHeadRoute: false },
    async (req, reply) => {
      let judged: Awaited<ReturnType<typeof judgeAuthorization>>
      try {
        judged = await judgeAuthorization(db, publicUrl, req.query as Record<string, string>)
      } catch (error) {
        if (!(error instanceof NoRedirect)) throw error
        return sendPage(reply.code(400), errorText(error.oauthError, error.message))
      }
      if ('redirect' in judged) return reply.redirect(judged.redirect, 303)
      await handOn(req, reply, { url: `/oauth/authorize?${judged.query}`, answers: 'html', withoutCookies: true })
      return reply
    },
  )

  for (const [url, summary] of [
    ['/oauth/authorize/:uid', 'Go on after a page'],
    ['/oauth/device/:uid', 'Go on after a page, for a device'],
  ] as const) {
    app.get(url, { config, schema: { ...schema(summary), params }, exposeHeadRoute: false }, async (req, reply) => {
      const underWay = await provider.Interaction.find(req.params.uid)
      if (underWay) await clientStillRegistered(db, underWay.params)
      await handOn(req, reply, { url: req.url.split('?')[0] ?? '', answers: 'html' })
      return reply
    })
  }

  app.get(
    '/oauth/device',
    { config, schema: schema('Page: enter the code of a device'), exposeHeadRoute: false },
    async (req, reply) => {
      const { user_code = '' } = req.query as Record<string, string>
      const shown = { url: '/oauth/device', answers: 'html' as const, withoutCookies: true }
      await handOn(req, reply, shown, (seen) => prefill(seen, user_code.slice(0, MAX_USER_CODE)))
      return reply
    },
  )

  app.post(
    '/oauth/device',
    { config: { ...config, rule: 'AUTH_LOGIN' }, schema: schema('Form: the code of a device') },
    async (req, reply) => {
      const { xsrf = '', user_code = '' } = formOf(req.body)
      const refund = await parts.attempts.spend('AUTH_DEVICE_CODE', '', req.raw)
      // The page of consent shows app and code, so the provider's own page of confirmation is passed over.
      const body = new URLSearchParams({
        xsrf,
        user_code: user_code.slice(0, MAX_USER_CODE),
        confirm: 'yes',
      }).toString()
      const refused = refusedCode(await handOn(req, reply, { url: '/oauth/device', body, answers: 'html' }))
      if (refused === undefined) await refund()
      else if (refused !== 'InvalidRequest') parts.attempts.failed(req.raw, 'code')
      return reply
    },
  )
}
