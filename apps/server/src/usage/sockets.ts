import type { WebSocket } from 'ws'
import type { Auth } from '../auth/index.ts'
import type { Clock } from '../platform/clock.ts'
import type { Sql } from '../platform/db/index.ts'
import type { Kv } from '../platform/kv/index.ts'
import type { Log } from '../platform/log.ts'
import { CONNECTION_EVENTS, TunnelEvent } from '../tunnels/index.ts'
import { Audience, type Listener } from './audience.ts'
import type { LiveBoard } from './live.ts'
import { ClientSocket, type Admission } from './socket.ts'
import { Wheel } from './wheel.ts'

/** All listeners' tunnels are read this often, in case the word of a change was lost. */
const REFRESH_MS = 10_000

export type SocketsDeps = {
  db: Sql
  kv: Kv
  log: Log
  clock: Clock
  board: LiveBoard
  auth: Pick<Auth, 'authenticateToken' | 'refreshPrincipal' | 'onSessionRevoked'>
  /** Per cent of a server's room in use, null = unknown. */
  loadOf: (serverId: string) => number | null
}

export type Sockets = {
  /** How many sockets of this user are open here. */
  countOf(userId: string): number
  /** Takes over an accepted socket. */
  open(ws: WebSocket, admission: Admission): Promise<void>
  start(): Promise<void>
  stop(): Promise<void>
}

type Group = Listener & { sockets: Set<ClientSocket> }

/** The customers' sockets of this instance. */
export function createSockets(deps: SocketsDeps): Sockets {
  const { db, kv, log, clock, board, auth, loadOf } = deps
  const groups = new Map<string, Group>()
  const audience = new Audience(db, board)
  const wheel = new Wheel<ClientSocket>((sockets, now) => sendMetrics(sockets, now))
  const ends: (() => unknown)[] = []
  const warn = (err: unknown): void => log.warn({ err }, "the tunnels of sockets' users could not be read")

  function sendMetrics(sockets: Iterable<ClientSocket>, now: number): void {
    const wall = clock.now()
    const timestamp = new Date(wall).toISOString()
    for (const socket of sockets) {
      for (const { watched, serverId, text } of socket.listener.tunnels ?? []) {
        if (watched) socket.send(text.at(timestamp, watched, now, loadOf(serverId)))
      }
      socket.tick(now, wall)
    }
  }

  function groupOf(userId: string): Group {
    const known = groups.get(userId)
    if (known) return known
    const sockets = new Set<ClientSocket>()
    const group: Group = {
      userId,
      tunnels: undefined,
      sockets,
      changed: (change) => sockets.forEach((socket) => socket.sendChange(change)),
    }
    groups.set(userId, group)
    audience.add(group)
    return group
  }

  function leave(group: Group, socket: ClientSocket): void {
    wheel.delete(socket)
    group.sockets.delete(socket)
    if (group.sockets.size > 0 || groups.get(group.userId) !== group) return
    groups.delete(group.userId)
    audience.delete(group.userId)
  }

  return {
    countOf: (userId) => groups.get(userId)?.sockets.size ?? 0,

    async open(ws, admission) {
      const group = groupOf(admission.principal.userId)
      const socket = new ClientSocket(ws, group, admission, auth)
      group.sockets.add(socket)
      ws.on('close', () => leave(group, socket))
      // It may have been revoked while the socket was opened, when nobody listened for it yet.
      await Promise.all([socket.check(), audience.refresh([group.userId]).catch(warn)])
      if (ws.readyState !== ws.OPEN) return leave(group, socket)
      socket.sendStatus()
      wheel.add(socket)
    },

    async start() {
      const unsubscribe = await kv.subscribe(CONNECTION_EVENTS, (text) => {
        const event = TunnelEvent.pick({ user_id: true }).safeParse(JSON.parse(text))
        if (event.success && audience.has(event.data.user_id)) audience.refresh([event.data.user_id]).catch(warn)
      })
      const unlisten = auth.onSessionRevoked(({ userId, sessionId }) => {
        for (const socket of groups.get(userId)?.sockets ?? []) {
          if (sessionId === null || socket.sessionId === sessionId) socket.end('the session has ended')
        }
      })
      const looks = setInterval(() => void audience.refresh().catch(warn), REFRESH_MS).unref()
      wheel.start()
      ends.push(unsubscribe, unlisten, () => clearInterval(looks), () => wheel.stop()) // prettier-ignore
    },

    async stop() {
      for (const end of ends.splice(0)) await end()
    },
  }
}
