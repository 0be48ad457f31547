import type { FastifyReply, FastifyRequest } from 'fastify'
import { errors, type InteractionResults, type Provider } from 'oidc-provider'
import { z } from 'zod'
import { Forbidden, type AppError } from '../../platform/errors.ts'
import type { App } from '../../platform/http/index.ts'
import { failedProofOf } from '../failed-proof.ts'
import { callerOf } from '../factor/prove.ts'
import type { Client } from './client-store.ts'
import { answerErrorPages, sendPage } from './errors.ts'
import { formOf, useForms } from './forms.ts'
import { clientStillRegistered } from './front.ts'
import {
  assertCsrf,
  askedOf,
  csrfOf,
  DENIED,
  giveConsent,
  messageOf,
  signInForApp,
  type Interaction,
} from './interaction.ts'
import { consentPage } from './pages/consent.ts'
import { signInPage } from './pages/sign-in.ts'
import type { OAuthParts } from './provider.ts'
import { standIn } from './stand-in.ts'
import { untilAnswered } from './twins.ts'

const params = z.strictObject({ uid: z.string().regex(/^[\w-]{20,64}$/) })
const LONGEST_AGENT = 100
const LONGEST_EMAIL = 254
const agentOf = (req: FastifyRequest): string | null =>
  req.headers['user-agent']?.replace(/[^\x20-\x7e]/g, '').slice(0, LONGEST_AGENT) || null

/** No such page, or it expired. @throws what else went wrong */
function goneOnly(error: unknown): undefined {
  if (!(error instanceof errors.SessionNotFound)) throw error
}

type Open = { interaction: Interaction; client: Client; at: string; csrf: string; redirectUri: string | undefined }

/** Our pages of a sign-in under way: without script, each form with a token of its own page. */
export function pageRoutes(app: App, parts: OAuthParts, provider: Provider): void {
  useForms(app)
  answerErrorPages(app)

  async function open(
    req: FastifyRequest,
    reply: FastifyReply,
    uid: string,
    step?: 'login' | 'consent',
  ): Promise<Open> {
    const shown = standIn(req, parts.publicUrl, { url: req.url, answers: 'html' })
    const interaction = await provider.interactionDetails(shown, reply.raw).catch(goneOnly)
    if (!interaction || interaction.uid !== uid || (step !== undefined && interaction.prompt.name !== step))
      throw new Forbidden('This page has expired. Go back to the app and begin again.')
    const client = await clientStillRegistered(parts.db, interaction.params)
    const redirectUri = interaction.params.redirect_uri as string | undefined
    return { interaction, client, at: `/oauth/interaction/${uid}`, csrf: csrfOf(parts, uid), redirectUri }
  }

  /** 303, so that the browser does not send the form on (RFC 9700). */
  async function finish(req: FastifyRequest, reply: FastifyReply, result: InteractionResults): Promise<FastifyReply> {
    const shown = standIn(req, parts.publicUrl, { url: req.url, answers: 'html' })
    return reply.redirect(await provider.interactionResult(shown, reply.raw, result), 303)
  }

  const signIn = (reply: FastifyReply, about: Open, email: string, message: string | null = null): FastifyReply => {
    const { client, at, csrf, redirectUri } = about
    const { APP_NAME: appName, ANONYMOUS_ACCOUNTS: numbers } = parts.config
    const text = signInPage({ at, csrf, client: client.name, appName, numbers, email, message })
    return sendPage(reply, text, redirectUri)
  }

  async function userCodeOf({ deviceCode }: Interaction): Promise<string | null> {
    if (deviceCode === undefined) return null
    const code = (await provider.DeviceCode.find(deviceCode, { ignoreExpiration: true }))?.userCode
    return code === undefined ? null : `${code.slice(0, 4)}-${code.slice(4)}`
  }

  const config = { needs: 'public' }
  const schema = (summary: string) => ({ tags: ['oauth'], summary, params })

  app.get('/oauth/interaction/:uid', { config, schema: schema('Page: sign in, or allow') }, async (req, reply) => {
    const about = await open(req, reply, req.params.uid)
    const { login_hint: hint } = about.interaction.params
    if (about.interaction.prompt.name === 'login')
      return signIn(reply, about, typeof hint === 'string' ? hint.slice(0, LONGEST_EMAIL) : '')
    const { account, oidc, api } = await askedOf(parts, about.interaction)
    const text = consentPage({
      at: about.at,
      csrf: about.csrf,
      client: about.client.name,
      account: account.email ?? account.id,
      scopes: [...api, ...oidc],
      redirectUri: about.redirectUri ?? null,
      userCode: await userCodeOf(about.interaction),
    })
    return sendPage(reply, text, about.redirectUri)
  })

  app.post(
    '/oauth/interaction/:uid/login',
    { config: { ...config, rule: 'AUTH_LOGIN' }, schema: schema('Form: sign in') },
    async (req, reply) => {
      const form = formOf(req.body)
      const about = await open(req, reply, req.params.uid, 'login')
      assertCsrf(parts, req.params.uid, form.csrf)
      let result: InteractionResults
      try {
        result = await signInForApp(parts, form, callerOf(req))
      } catch (error) {
        const kind = error instanceof Error ? failedProofOf(error) : undefined
        if (kind) parts.attempts.failed(req.raw, kind)
        const message = messageOf(error)
        if (message === undefined) throw error
        reply.code((error as AppError).status)
        return signIn(reply, about, (form.email ?? '').slice(0, LONGEST_EMAIL), message)
      }
      return finish(req, reply, result)
    },
  )

  app.post('/oauth/interaction/:uid/consent', { config, schema: schema('Form: allow or not') }, async (req, reply) => {
    const form = formOf(req.body)
    const { interaction, client } = await open(req, reply, req.params.uid, 'consent')
    assertCsrf(parts, req.params.uid, form.csrf)
    if (form.decision !== 'allow') return finish(req, reply, DENIED)
    const shown = {
      clientId: client.client_id,
      clientName: client.name,
      client: agentOf(req),
      country: parts.countryOf(req.raw),
    }
    const given = await giveConsent(parts, provider, interaction, shown)
    if (given) return finish(req, reply, given)
    // Sent twice: the browser shows the answer to the last one, which must not go on before the first has its result.
    await untilAnswered(provider, req.params.uid)
    return reply.redirect(interaction.returnTo, 303)
  })

  app.post('/oauth/interaction/:uid/cancel', { config, schema: schema('Form: do not go on') }, async (req, reply) => {
    await open(req, reply, req.params.uid)
    assertCsrf(parts, req.params.uid, formOf(req.body).csrf)
    return finish(req, reply, DENIED)
  })
}
