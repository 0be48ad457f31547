import type { FastifyReply, FastifyRequest, onRequestHookHandler } from 'fastify'
import { BODY_LIMIT, isPreflight, type App } from '../platform/http/index.ts'
import { accountsIn, isReadable, readBody, replay, type ReadBody } from './body.ts'
import type { Call, Judge, Told } from './judge.ts'
import { RulesOfPaths } from './paths.ts'
import { isRuleName, isSignIn, ROUTE_KINDS, type RouteKind, type RuleName } from './rules.ts'
import type { Violations } from './violations.ts'
import type { WebhookGuard } from './webhook-guard.ts'

const isRouteKind = (text: string): text is RouteKind => (ROUTE_KINDS as readonly string[]).includes(text)

/** The rule a route names; `API` when it names none. @throws at start for a name that is neither rule nor kind */
export function ruleOf(name: string | undefined): RuleName | RouteKind {
  if (name === undefined) return 'API'
  if (isRuleName(name) || isRouteKind(name)) return name
  throw new Error(`a route names the limit ${name}, which there is not`)
}

const tell = (reply: FastifyReply, headers: Told): void => {
  if (headers) reply.headers(headers)
}

type Deps = { judge: Judge; webhooks: WebhookGuard; violations: Violations }

/** The protection as hooks of the HTTP side. */
export class HttpHooks {
  readonly #deps: Deps
  readonly #paths = new RulesOfPaths()
  readonly #bodies = new WeakMap<FastifyRequest, ReadBody>()

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** `createApp`'s `protect`: the first judgement of a request. A callback, since most need no wait. */
  readonly protect: onRequestHookHandler = (req, reply, done) => {
    const began = performance.now()
    const finish = (error?: Error) => {
      this.#deps.violations.took(performance.now() - began)
      done(error)
    }
    let told: Told | Promise<Told>
    try {
      told = this.#judge(req, reply)
    } catch (error) {
      return finish(error as Error)
    }
    if (told instanceof Promise) {
      void told.then((headers) => tell(reply, headers)).then(() => finish(), finish)
      return
    }
    tell(reply, told)
    finish()
  }

  #judge(req: FastifyRequest, reply: FastifyReply): Told | Promise<Told> {
    const call = this.#callOf(req)
    if (call.rule !== 'WEBHOOK') return this.#deps.judge.judge(call)
    this.#deps.webhooks.admit(req.raw, reply.raw, this.#deps.judge.assertWelcome(call))
    return null
  }

  #callOf(req: FastifyRequest): Call {
    const { raw } = req
    // Every path has a route for OPTIONS, which takes preflights alone.
    if (req.is404 || (raw.method === 'OPTIONS' && !isPreflight(raw))) {
      // A wrong method on a guarded path counts against that path's rule.
      const path = this.#paths.find(req.url)
      return {
        raw,
        // The webhook's guard is for bodies on their way: another method there is counted as any call is.
        rule: path === undefined || path.rule === 'WEBHOOK' ? 'API' : path.rule,
        isPublic: path?.isPublic ?? true,
        route: path?.url ?? 'unknown',
        isUnknownRoute: path === undefined,
        accounts: null,
      }
    }
    const { config, url = 'unknown' } = req.routeOptions
    const rule = ruleOf(config.rule)
    const isPublic = config.needs === undefined || config.needs === 'public'
    const byAccount = isPublic && (rule === 'AUTH_LOGIN' || rule === 'AUTH_PASSWORD_RESET')
    return {
      raw,
      rule,
      isPublic,
      route: url,
      isUnknownRoute: false,
      anywhere: config.anywhere === true,
      accounts: byAccount && isReadable(raw, BODY_LIMIT) ? () => this.#accountsOf(req) : null,
    }
  }

  async #accountsOf(req: FastifyRequest): Promise<string[]> {
    const body = await readBody(req.raw, BODY_LIMIT)
    this.#bodies.set(req, body)
    return accountsIn(body, req.headers['content-type'])
  }

  /** Adds what `protect` needs of the app. Before the first route. */
  attach(app: App): void {
    app.addHook('onRoute', (route) => {
      if (route.url === '*' || route.url === '/*') return
      const rule = ruleOf(route.config?.rule)
      if (isRuleName(rule) && isSignIn(rule) && route.config?.needs === undefined)
        throw new Error(`route ${route.url} has a limit on signing in and does not say who may call it`)
      this.#paths.add(route.url, rule, route.config?.needs === 'public')
    })
    app.addHook('preParsing', (req, _reply, payload, done) => {
      const body = this.#bodies.get(req)
      done(null, body ? replay(body) : payload)
    })
  }
}
