import { STATUS_CODES, type IncomingMessage, type Server } from 'node:http'
import type { Duplex } from 'node:stream'
import findMyWay, { type Instance, type HTTPVersion } from 'find-my-way'
import { WebSocketServer, type WebSocket } from 'ws'
import { AppError, Forbidden, invalidField, toEnvelope, Unavailable } from '../errors.ts'
import type { Config } from '../config/index.ts'
import type { Log } from '../log.ts'
import { toAppError } from './answer-error.ts'
import { assertHost, assertHttps, assertOneReading, assertVersion, securityHeaders } from './headers.ts'
import { assertQuery, parseQuery } from './parse.ts'
import { canonicalTarget, MAX_HEADER_SIZE } from './paths.ts'
import { requestId } from './request-id.ts'

export type UpgradeRequest = {
  id: string
  raw: IncomingMessage
  params: Record<string, string | undefined>
  query: Record<string, string>
  /** Subprotocols the client offers. */
  protocols: string[]
  log: Log
}

/** Completes the handshake; until then a thrown AppError is answered over HTTP. @param protocol the one selected */
export type Accept = (protocol?: string) => Promise<WebSocket>

export type UpgradeRoute = {
  /** With the prefix, e.g. `/api/v1/ws/connection/:user_id`. */
  path: string
  /** The rate-limit rule that judges an open; `WEBSOCKET` when none is named. */
  rule?: string
  /** Largest message in bytes; a larger one ends the socket with 1009. */
  maxPayload: number
  handle(req: UpgradeRequest, accept: Accept): Promise<void>
}

type Headers = Readonly<Record<string, string>>

/**
 * Judges an upgrade before it is answered.
 * @param route the one it is for; undefined where there is none
 * @returns headers for the answer, be it the handshake or a refusal; null for none
 */
export type Protect = (
  req: IncomingMessage,
  route: { path: string; rule?: string | undefined } | undefined,
) => Promise<Headers | null>

type Store = { route: UpgradeRoute; server: WebSocketServer }

const HANDSHAKE_KEY = /^[+/0-9A-Za-z]{22}==$/
const GOING_AWAY = 1001
const CLOSE_GRACE_MS = 2_000

function originAllowed(req: IncomingMessage, config: Pick<Config, 'CORS_ORIGINS' | 'PUBLIC_URL'>): boolean {
  const origin = req.headers.origin
  if (origin === undefined) return true
  if (config.CORS_ORIGINS.includes(origin) || origin === config.PUBLIC_URL) return true
  // Without a PUBLIC_URL our own page is whatever host the browser reached us at.
  return config.PUBLIC_URL === undefined && URL.canParse(origin) && new URL(origin).host === req.headers.host
}

/** 400 for what is no opening handshake (RFC 6455, section 4.2.1), told here so that the answer is the contract's. */
function assertHandshake({ headers }: IncomingMessage): void {
  if (headers['sec-websocket-version'] !== '13') throw invalidField('Sec-WebSocket-Version', 'must be 13')
  if (!HANDSHAKE_KEY.test(headers['sec-websocket-key'] ?? ''))
    throw invalidField('Sec-WebSocket-Key', 'must be 16 bytes in base64')
}

/** WebSocket routes beside the HTTP ones: same paths, same errors, refused before the upgrade. */
export class Upgrades {
  readonly #router: Instance<HTTPVersion.V1> = findMyWay({
    ignoreDuplicateSlashes: true,
    maxParamLength: MAX_HEADER_SIZE,
  })
  readonly #selected = new WeakMap<IncomingMessage, string>()
  readonly #told = new WeakMap<IncomingMessage, Headers>()
  readonly #servers: WebSocketServer[] = []
  readonly #config: Pick<Config, 'ALLOWED_HOSTS' | 'CORS_ORIGINS' | 'PUBLIC_URL'>
  readonly #log: Log
  readonly #protect: Protect | undefined
  readonly #arrivesByHttps: (req: IncomingMessage) => boolean
  #closing = false

  /**
   * @param protect bans and limits, before anything else
   * @param arrivesByHttps how the caller reached us; without it every call to an https address counts as https
   */
  constructor(
    config: Pick<Config, 'ALLOWED_HOSTS' | 'CORS_ORIGINS' | 'PUBLIC_URL'>,
    log: Log,
    protect?: Protect,
    arrivesByHttps?: (req: IncomingMessage) => boolean,
  ) {
    this.#config = config
    this.#log = log
    this.#protect = protect
    this.#arrivesByHttps = arrivesByHttps ?? (() => true)
  }

  add(route: UpgradeRoute): void {
    const server = new WebSocketServer({
      noServer: true,
      maxPayload: route.maxPayload,
      perMessageDeflate: false,
      clientTracking: true,
      handleProtocols: (_offered, req) => this.#selected.get(req) ?? false,
    })
    server.on('headers', (lines, req) => {
      for (const [name, value] of Object.entries(this.#told.get(req) ?? {})) lines.push(`${name}: ${value}`)
    })
    this.#servers.push(server)
    this.#router.on('GET', route.path, () => undefined, { route, server } satisfies Store)
  }

  attach(http: Server): void {
    http.on('upgrade', (raw, socket, head) => {
      const id = requestId(raw)
      socket.on('error', () => socket.destroy())
      this.#judge(raw, socket, head, id).catch((error: unknown) => this.#refuse(raw, socket, id, error))
    })
  }

  async #judge(raw: IncomingMessage, socket: Duplex, head: Buffer, id: string): Promise<void> {
    if (this.#closing) throw new Unavailable('The service is restarting.')
    const target = canonicalTarget(raw.url ?? '/')
    const found = this.#router.find('GET', target.split('?')[0] ?? '')
    const told = await this.#protect?.(raw, (found?.store as Store | undefined)?.route)
    if (told) this.#told.set(raw, told)
    assertOneReading(raw)
    assertHost(raw.headers.host, this.#config.ALLOWED_HOSTS)
    assertVersion(raw.headers['x-api-version'])
    if (this.#config.PUBLIC_URL?.startsWith('https:')) assertHttps(this.#arrivesByHttps(raw))
    assertHandshake(raw)
    if (!found) throw new AppError('NOT_FOUND', 'There is no such path.')
    if (!originAllowed(raw, this.#config)) throw new Forbidden('This origin may not open a socket.')
    const { route, server } = found.store as Store
    const query = parseQuery(target.split('?').slice(1).join('?'))
    assertQuery(query)
    const protocols = (raw.headers['sec-websocket-protocol'] ?? '')
      .split(',')
      .map((p) => p.trim())
      .filter(Boolean)
    const log = this.#log.child({ request_id: id })
    await route.handle({ id, raw, params: found.params, query, protocols, log }, (protocol) => {
      if (protocol !== undefined) this.#selected.set(raw, protocol)
      return new Promise((resolve, reject) => {
        if (socket.destroyed) reject(new Error('the client has gone'))
        else
          server.handleUpgrade(raw, socket, head, (ws) => {
            // What a hostile client makes ws complain of (too large, no UTF-8) closes the socket; it must not end the process.
            ws.on('error', () => undefined)
            resolve(ws)
          })
      })
    })
  }

  #refuse(raw: IncomingMessage, socket: Duplex, id: string, error: unknown): void {
    if (socket.destroyed) return
    const known = toAppError(error)
    if (known.code === 'INTERNAL') this.#log.error({ err: error, request_id: id }, 'upgrade failed')
    const body = JSON.stringify(toEnvelope(known, id))
    const headers = {
      ...securityHeaders(this.#config.PUBLIC_URL?.startsWith('https:') ?? false),
      'x-request-id': id,
      'content-type': 'application/json; charset=utf-8',
      'content-length': String(Buffer.byteLength(body)),
      connection: 'close',
      ...this.#told.get(raw),
      ...known.headers,
      ...(known.more.retry_after === undefined ? {} : { 'retry-after': String(known.more.retry_after) }),
      ...(known.status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
    }
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.end(`HTTP/1.1 ${known.status} ${STATUS_CODES[known.status] ?? ''}\r\n${lines.join('')}\r\n${body}`)
  }

  /** Tells every socket that we go, then ends those that stay. */
  async close(): Promise<void> {
    this.#closing = true
    const sockets = this.#servers.flatMap((server) => [...server.clients])
    if (sockets.length === 0) return
    for (const ws of sockets) ws.close(GOING_AWAY, 'restarting')
    await new Promise((resolve) => setTimeout(resolve, Math.min(CLOSE_GRACE_MS, 100 + sockets.length)))
    for (const ws of sockets) ws.terminate()
  }
}
