import { Buffer } from 'node:buffer'
import type { RawData, WebSocket } from 'ws'
import { z } from 'zod'
import type { Auth, Principal } from '../auth/index.ts'
import { statusText } from './frames.ts'
import type { Listener, StatusChange } from './audience.ts'

export const CLOSE_UNAUTHENTICATED = 4401
const CLOSE_BINARY = 1003
const CLOSE_POLICY = 1008
/** Waiting to be sent: half an hour of one tunnel's frames, or a client that does not read. */
export const MAX_BUFFERED = 256 * 1024
/** Messages a client may send: so many at once, and so many a second. */
const BURST = 30
const PER_SECOND = 5
const PING_MS = 30_000
/** The session is looked up again this often, in case the word of its end was lost. */
const RECHECK_MS = 120_000

const Message = z.looseObject({ type: z.string().max(64) })
const AuthMessage = z.looseObject({ access_token: z.string().max(8192) })

export type SocketAuth = Pick<Auth, 'authenticateToken' | 'refreshPrincipal'>

/** What opened a socket, and how long it holds. */
export type Admission = { principal: Principal; until: Date }

const errorText = (error: string): string => JSON.stringify({ type: 'error', error })
const timestamp = (): string => new Date().toISOString()

/** One customer's socket: who it belongs to, until when, and what it is told. */
export class ClientSocket {
  readonly ws: WebSocket
  readonly listener: Listener
  readonly #auth: SocketAuth
  #principal: Principal
  #until: number
  #tokens = BURST
  #refilledAt = performance.now()
  #pingedAt = performance.now()
  #checkedAt = performance.now()
  #heard = true

  constructor(ws: WebSocket, listener: Listener, { principal, until }: Admission, auth: SocketAuth) {
    this.ws = ws
    this.listener = listener
    this.#auth = auth
    this.#principal = principal
    this.#until = until.getTime()
    ws.on('message', (data, isBinary) => void this.#hear(data, isBinary))
    ws.on('pong', () => (this.#heard = true))
    ws.on('error', () => ws.terminate())
  }

  get sessionId(): string {
    return this.#principal.sessionId
  }

  send(text: string): void {
    if (this.ws.readyState !== this.ws.OPEN) return
    if (this.ws.bufferedAmount > MAX_BUFFERED) return this.ws.terminate()
    this.ws.send(text)
  }

  /** What the client is told first, and when it asks. */
  sendStatus(): void {
    const tunnels = this.listener.tunnels ?? []
    if (tunnels.length === 0) this.send(statusText(timestamp(), null, 'disconnected', null))
    for (const { connectionId } of tunnels) this.send(statusText(timestamp(), connectionId, 'connected', null))
  }

  sendChange({ connectionId, status, reason }: StatusChange): void {
    this.send(statusText(timestamp(), connectionId, status, reason))
  }

  end(reason: string): void {
    this.ws.close(CLOSE_UNAUTHENTICATED, reason)
    setTimeout(() => this.ws.terminate(), 2_000).unref()
  }

  /** Once a second: is the socket still allowed, and does anybody listen? @param now monotonic ms */
  tick(now: number, wallMs: number): void {
    if (wallMs >= this.#until) return this.end('the sign-in has expired')
    if (now - this.#checkedAt >= RECHECK_MS) void this.check()
    if (now - this.#pingedAt < PING_MS) return
    if (!this.#heard) return this.ws.terminate()
    this.#heard = false
    this.#pingedAt = now
    this.ws.ping()
  }

  /** Reads the session again; ends the socket when it is no more. */
  async check(): Promise<void> {
    this.#checkedAt = performance.now()
    try {
      if ((await this.#auth.refreshPrincipal(this.#principal)) === null) this.end('the session has ended')
    } catch {
      // The database is away: the next look, the end of the token, or the word of a revocation decides.
    }
  }

  async #hear(data: RawData, isBinary: boolean): Promise<void> {
    this.#heard = true
    if (this.ws.readyState !== this.ws.OPEN) return
    if (isBinary) return this.ws.close(CLOSE_BINARY, 'text only')
    if (!this.#allow()) return this.ws.close(CLOSE_POLICY, 'too many messages')
    const message = parse(data)
    if (!message) return this.send(errorText('not a JSON message with a type'))
    switch (message.type) {
      case 'ping':
        return this.send(JSON.stringify({ type: 'pong', timestamp: timestamp() }))
      case 'get_status':
        return this.sendStatus()
      case 'auth':
        return this.#renew(message)
      default:
        this.send(errorText('unknown type'))
    }
  }

  async #renew(message: unknown): Promise<void> {
    const parsed = AuthMessage.safeParse(message)
    if (!parsed.success) return this.send(errorText('access_token is missing'))
    try {
      const principal = await this.#auth.authenticateToken(parsed.data.access_token)
      const same = principal.userId === this.#principal.userId && principal.sessionId === this.#principal.sessionId
      if (!same) return this.end('another session')
      this.#principal = principal
      this.#until = Math.max(this.#until, principal.credentialExpiresAt.getTime())
      this.send(JSON.stringify({ type: 'auth', status: 'renewed', expires_at: new Date(this.#until).toISOString() }))
    } catch {
      this.end('the token is not valid')
    }
  }

  #allow(): boolean {
    const now = performance.now()
    this.#tokens = Math.min(BURST, this.#tokens + ((now - this.#refilledAt) / 1000) * PER_SECOND)
    this.#refilledAt = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}

function parse(data: RawData): z.infer<typeof Message> | undefined {
  const bytes = Buffer.isBuffer(data) ? data : Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data)
  try {
    return Message.safeParse(JSON.parse(bytes.toString())).data
  } catch {
    return undefined
  }
}
