import type { IncomingMessage } from 'node:http'
import type { RawData, WebSocket } from 'ws'
import { MAX_MESSAGE_BYTES } from '@prime-vpn/node-protocol'
import type { UpgradeRequest, UpgradeRoute } from '../platform/http/index.ts'
import { Gate, type Caller } from './gate.ts'
import type { NodeLink } from './link.ts'

/** Several nodes may stand behind one address, and customers behind them. */
const UNPROVED = { inAll: 256, strangers: 192, perAddress: 16, perNetwork: 32 }
/** A proof is 500 bytes; what a stranger sends beyond this is not kept in memory. */
const MAX_UNPROVED_BYTES = 8 * 1024
const PING_MS = 10_000

const bytesOf = (data: RawData): Buffer =>
  Buffer.isBuffer(data) ? data : Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data)

/** Pings the other end and ends a socket that gives no sign. @returns the last round trip in ms, and its end */
function keepAlive(ws: WebSocket, pong: (ms: number) => void): NodeJS.Timeout {
  let sentAt = 0
  let heard = true
  ws.on('message', () => (heard = true))
  ws.on('pong', () => {
    heard = true
    pong(performance.now() - sentAt)
  })
  return setInterval(() => {
    if (!heard) return ws.terminate()
    heard = false
    sentAt = performance.now()
    ws.ping()
  }, PING_MS).unref()
}

/** Ends the socket of a stranger who sends more than a proof. */
function boundStranger(req: UpgradeRequest, ws: WebSocket, link: NodeLink): void {
  const { socket } = req.raw
  const before = socket.bytesRead
  const watch = (): void => {
    if (link.linked) socket.off('data', watch)
    else if (socket.bytesRead - before > MAX_UNPROVED_BYTES) ws.terminate()
  }
  socket.prependListener('data', watch)
}

export type RouteDeps = {
  /** Whom an open counts for, as far as trusted proxies tell. */
  callerOf: (req: IncomingMessage) => Caller
  open: (ws: WebSocket, req: IncomingMessage) => NodeLink
  /** The socket has gone. */
  gone: (link: NodeLink) => void
  ping: (link: NodeLink, ms: number) => void
}

/** `WS /node/link`: whoever calls is a stranger until it has answered the challenge. */
export function linkRoute({ callerOf, open, gone, ping }: RouteDeps): UpgradeRoute & { proved(link: NodeLink): void } {
  const gate = new Gate(UNPROVED)
  const leaves = new WeakMap<NodeLink, () => void>()

  return {
    path: '/api/v1/node/link',
    rule: 'NODE_LINK',
    maxPayload: MAX_MESSAGE_BYTES,
    proved: (link) => leaves.get(link)?.(),
    async handle(req, accept) {
      const leave = gate.enter(callerOf(req.raw), () => req.raw.socket.destroy())
      try {
        const ws = await accept()
        const link = open(ws, req.raw)
        leaves.set(link, leave)
        boundStranger(req, ws, link)
        const pings = keepAlive(ws, (ms) => ping(link, ms))
        ws.on('message', (data, isBinary) => link.hear(bytesOf(data), isBinary))
        ws.on('error', () => ws.terminate())
        ws.on('close', () => {
          clearInterval(pings)
          leave()
          link.step({ type: 'closed' })
          gone(link)
        })
        link.open()
      } catch (error) {
        leave()
        throw error
      }
    },
  }
}
