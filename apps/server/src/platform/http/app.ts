import type { IncomingMessage } from 'node:http'
import cors from '@fastify/cors'
import fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyReply,
  type FastifyRequest,
  type onRequestAsyncHookHandler,
  type onRequestHookHandler,
} from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Config } from '../config/index.ts'
import { AppError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { App } from './app-type.ts'
import { answerError } from './answer-error.ts'
import { assertHost, assertHttps, assertOneReading, assertVersion, securityHeaders, useHeaders } from './headers.ts'
import { rememberMethods } from './methods.ts'
import { compileValidator, parseQuery, refuseDoubledNames, refuseUnaskedBody, useJsonBodies } from './parse.ts'
import { canonicalTarget, MAX_HEADER_SIZE } from './paths.ts'
import { refuseRaw } from './refuse-raw.ts'
import { requestId } from './request-id.ts'
import { RequestLog } from './request-log.ts'
import { isPreflight } from './preflight.ts'
import { compileSerializer } from './serialize.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Who may call: a permission's name, or `public`. A route without it does not start. */
    needs?: string
    /** The rate-limit rule that judges the route; `API` when none is named. */
    rule?: string
    /** Country rules do not hold here. */
    anywhere?: boolean
    /** Takes `Idempotency-Key`; a name instead of `true` is shared by the routes that are one call. */
    idempotent?: boolean | string
  }
}

export type HttpOptions = {
  config: Pick<Config, 'ALLOWED_HOSTS' | 'CORS_ORIGINS' | 'PUBLIC_URL'>
  log: Log
  /** Bans and limits: before anything else is looked at. */
  protect?: onRequestHookHandler
  /** How the caller reached us; without it every request to an https address counts as https. */
  arrivesByHttps?: (req: IncomingMessage) => boolean
  /** Session and permission: after 404, 405 and version, before the body is read. */
  authenticate?: onRequestAsyncHookHandler
}

export const BODY_LIMIT = 64 * 1024
const HEADERS_TIMEOUT_MS = 10_000
/** Node looks for slow clients this often; by its default a 10 s limit would be kept to 30 s. */
const CONNECTIONS_CHECK_MS = 2_000
const REQUEST_TIMEOUT_MS = 30_000

const isSocketRequest = ({ method, headers }: IncomingMessage): boolean =>
  method === 'GET' && headers.upgrade?.toLowerCase() === 'websocket'

/** Builds the HTTP side without listening. Order of judgement: api.md, section 1, 'Errors'. */
export async function createApp({ config, log, protect, arrivesByHttps, authenticate }: HttpOptions): Promise<App> {
  const https = config.PUBLIC_URL?.startsWith('https:') ?? false
  const loggerInstance: FastifyBaseLogger = log
  const app: App = fastify({
    loggerInstance,
    genReqId: requestId,
    requestIdHeader: false,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'request_id' }),
    childLoggerFactory: (parent, bindings) => new RequestLog(parent, bindings),
    bodyLimit: BODY_LIMIT,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: 65_000,
    connectionTimeout: 0,
    forceCloseConnections: 'idle',
    return503OnClosing: true,
    rewriteUrl: (req) => canonicalTarget(req.url ?? '/'),
    routerOptions: { maxParamLength: MAX_HEADER_SIZE, querystringParser: parseQuery },
    http: {
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: CONNECTIONS_CHECK_MS,
      maxHeaderSize: MAX_HEADER_SIZE,
      // Told by us, in the contract's words.
      requireHostHeader: false,
      // What is no WebSocket, such as an offer of HTTP/2, is an ordinary request.
      shouldUpgradeCallback: isSocketRequest,
    },
    clientErrorHandler: (error, socket) => refuseRaw(error, socket, https),
    // A path that the router cannot decode runs no hooks: what they do first is done here.
    frameworkErrors(error, req, reply) {
      reply.headers(securityHeaders(https)).headers({ 'x-request-id': req.id, connection: 'close' })
      const answer = (refused?: Error) => answerError((refused as AppError | undefined) ?? error, req, reply)
      if (protect) protect.call(app, req, reply, answer)
      else answer()
    },
  }).withTypeProvider<ZodTypeProvider>()

  // An expectation we do not know is no reason to refuse what was asked (RFC 9110, section 10.1.1).
  app.server.on('checkExpectation', (req, res) => void app.server.emit('request', req, res))
  const methodsOf = rememberMethods(app)
  useJsonBodies(app)
  useHeaders(app, https)
  app.setValidatorCompiler<z.ZodType>(({ schema, httpPart }) => compileValidator(schema, httpPart))
  app.setSerializerCompiler<z.ZodType>(({ schema }) => compileSerializer(schema))
  app.setErrorHandler(answerError)

  app.addHook('onRoute', (route) => {
    if (route.config?.needs === undefined && route.method !== 'OPTIONS')
      throw new Error(`route ${route.url} does not say who may call it`)
    // Unknown query fields are refused everywhere, so a call without query takes none.
    route.schema = { querystring: z.strictObject({}), ...route.schema }
  })

  if (protect) app.addHook('onRequest', protect)
  // What needs no wait is a callback: a promise for each of these would cost more than they do. What they throw is heard.
  app.addHook('onRequest', (req, _reply, done) => {
    assertOneReading(req.raw)
    const forMachines = req.url.startsWith('/health')
    if (!forMachines) assertHost(req.headers.host, config.ALLOWED_HOSTS)
    assertVersion(req.headers['x-api-version'])
    if (https && !forMachines) assertHttps(arrivesByHttps?.(req.raw) ?? true)
    done()
  })
  const refuseMethod = (req: FastifyRequest, reply: FastifyReply): never => {
    const methods = methodsOf(req.url)
    if (methods.length === 0) throw new AppError('NOT_FOUND', 'There is no such path.')
    reply.header('allow', methods.join(', '))
    throw new AppError('METHOD_NOT_ALLOWED', `This path takes ${methods.join(', ')}.`)
  }
  // An OPTIONS that is no preflight is a method like any other that the path does not take.
  app.addHook('onRequest', (req, reply, done) => {
    if (req.method === 'OPTIONS' && !isPreflight(req.raw)) refuseMethod(req, reply)
    done()
  })
  await app.register(cors, {
    origin: config.CORS_ORIGINS,
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    allowedHeaders: [
      'Authorization',
      'Content-Type',
      'Idempotency-Key',
      'X-API-Version',
      'X-CSRF-Token',
      'X-Request-ID',
    ],
    exposedHeaders: [
      'Idempotent-Replayed',
      'Retry-After',
      'X-API-Version',
      'X-Request-ID',
      'X-RateLimit-Limit',
      'X-RateLimit-Remaining',
      'X-RateLimit-Reset',
      'RateLimit',
      'RateLimit-Policy',
    ],
    maxAge: 600,
    strictPreflight: true,
  })
  app.addHook('onRequest', (req, reply, done) => {
    if (req.is404) refuseMethod(req, reply)
    done()
  })
  if (authenticate) app.addHook('onRequest', authenticate)
  app.addHook('preValidation', (req, _reply, done) => {
    refuseDoubledNames(req)
    refuseUnaskedBody(req)
    done()
  })
  app.addHook('onResponse', (req, reply, done) => {
    // The route, never the path: a path may hold a token.
    const route = req.routeOptions.url ?? 'unknown'
    const ms = Math.round(reply.elapsedTime * 10) / 10
    log.info({ request_id: req.id, method: req.method, route, status: reply.statusCode, ms }, 'request')
    done()
  })
  return app
}
