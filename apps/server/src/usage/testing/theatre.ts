import { once } from 'node:events'
import WebSocket from 'ws'
import { permissionsOf, type Role } from '../../accounts/index.ts'
import type { Principal, Revocation } from '../../auth/index.ts'
import type { NodeLinks, NodeReport, ReportListener } from '../../node-link/index.ts'
import { Unauthenticated } from '../../platform/errors.ts'
import { defer, type Scope } from '../../platform/testing/index.ts'
import { until } from '../../node-link/testing/fleet-of-one.ts'

/** Sign-in as the sockets see it: a token is `userId.sessionId`, good for a minute unless told otherwise. */
export class TestAuth {
  readonly ended = new Set<string>()
  readonly listeners = new Set<(revocation: Revocation) => void>()
  tokenMs = 60_000
  sessionMs = 3_600_000

  principal(userId: string, sessionId: string, role: Role = 'user'): Principal {
    return {
      userId,
      sessionId,
      role,
      permissions: permissionsOf(role),
      mustChangePassword: sessionId.startsWith('change'),
      isVerified: true,
      entitlement: { planId: 'free', tier: 'free', maxDevices: 1, maxConnections: 1, expiresAt: null },
      sessionExpiresAt: new Date(Date.now() + this.sessionMs),
      credentialExpiresAt: new Date(Date.now() + this.tokenMs),
    }
  }

  readonly authenticateToken = async (token: string): Promise<Principal> => {
    const [userId = '', sessionId = '', role = 'user'] = token.split('.')
    if (sessionId === '' || this.ended.has(sessionId)) throw new Unauthenticated()
    return this.principal(userId, sessionId, role as Role)
  }
  readonly refreshPrincipal = async ({ userId, sessionId, role }: Principal): Promise<Principal | null> =>
    this.ended.has(sessionId) ? null : this.principal(userId, sessionId, role)
  readonly onSessionRevoked = (listener: (revocation: Revocation) => void) => {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  revoke(userId: string, sessionId: string | null): void {
    if (sessionId !== null) this.ended.add(sessionId)
    for (const listener of this.listeners) listener({ userId, sessionId })
  }
}

/** Links without nodes: the test says what they report. */
export class TestLinks implements Pick<NodeLinks, 'onReport' | 'onLive' | 'watch'> {
  readonly #listeners: ReportListener[] = []
  readonly #live: ((report: NodeReport) => void)[] = []
  watched = new Map<string, readonly number[]>()

  onReport(listener: ReportListener): void {
    this.#listeners.push(listener)
  }
  onLive(listener: (report: NodeReport) => void): void {
    this.#live.push(listener)
  }
  watch(_key: string, slots: ReadonlyMap<string, readonly number[]>): void {
    this.watched = new Map(slots)
  }
  report(report: NodeReport): void {
    for (const listener of this.#live) listener(report)
    for (const listener of this.#listeners) void listener(report)
  }
}

export type Message = Record<string, unknown> & { type: string; connection_id?: string; status?: string }

export type Client = {
  ws: WebSocket
  heard: Message[]
  closed: Promise<number>
  /** The first message of this kind that comes or has come. */
  next(what: string, fits: (message: Message) => unknown): Promise<Message>
}

/** Opens a socket. @returns undefined members never; rejects with the status when the upgrade is refused */
export async function openSocket(
  scope: Scope,
  url: string,
  options: { protocols?: string[]; headers?: Record<string, string> } = {},
): Promise<Client> {
  const ws = new WebSocket(url, options.protocols ?? [], { headers: options.headers ?? {} })
  defer(scope, () => ws.terminate())
  const heard: Message[] = []
  ws.on('message', (data: Buffer) => void heard.push(JSON.parse(data.toString()) as Message))
  const closed = once(ws, 'close').then(([code]) => code as number)
  closed.catch(() => undefined)
  await new Promise<void>((resolve, reject) => {
    ws.on('open', resolve)
    ws.on('error', reject)
    ws.on('unexpected-response', (req, res) => {
      req.destroy()
      reject(new Error(`refused ${res.statusCode}`))
    })
  })
  return {
    ws,
    heard,
    closed,
    async next(what, fits) {
      await until(what, () => heard.some(fits))
      return heard.find(fits) as Message
    },
  }
}
