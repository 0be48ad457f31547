import WebSocket from 'ws'
import { MAX_MESSAGE_BYTES, parseServerMessage, type NodeMessage, type ServerMessage } from '@prime-vpn/node-protocol'
import { addressOf, lookupFor } from './control-url.ts'
import { looksSane } from './link-guard.ts'

/** A ping goes out this often, in ms; two unanswered ones end the link. */
const PING_MS = 15_000
const HANDSHAKE_MS = 10_000
/** More than this waiting to be sent means the other end does not read. */
const MAX_UNSENT = 64 * 1024 * 1024
/** Pings of the other end are answered at most this often, in ms: a flood of them costs us nothing. */
const PONG_GAP_MS = 1_000

export type LinkHandlers = {
  opened: () => void
  message: (message: ServerMessage) => void
  /** Something that is no message of this protocol. */
  invalid: (reason: string) => void
  /** Called once, also when the socket never opened. `status` is the HTTP answer, where there was one. */
  closed: (status: number | null) => void
  /** Seconds by which this machine's clock is ahead of the control plane's, to the second, at the handshake. */
  skew?: (seconds: number) => void
}

/** One socket to the control plane. `send` and `close` do nothing once it is closed. */
export type LinkSocket = {
  send: (message: NodeMessage) => void
  close: (code: number, reason: string) => void
  destroy: () => void
}

/**
 * Opens `WS /node/link`. No redirect is followed, no compression spoken; size, number of fragments, depth, waiting time
 * and unsent bytes are bounded, so that a hostile control plane costs a closed link and nothing else.
 */
export function openLinkSocket(controlUrl: string, on: LinkHandlers, pingMs = PING_MS): LinkSocket {
  const url = addressOf(controlUrl, '/node/link')
  const ws = new WebSocket(url, {
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    maxFragments: 4096,
    maxBufferedChunks: 64 * 1024,
    handshakeTimeout: HANDSHAKE_MS,
    followRedirects: false,
    autoPong: false,
    lookup: lookupFor(url),
  })
  let status: number | null = null
  let ended = false
  let heard = true
  let lastPong = -Infinity
  const liveness = setInterval(() => {
    if (ws.readyState !== WebSocket.OPEN) return
    if (!heard) return ws.terminate()
    heard = false
    ws.ping()
  }, pingMs)

  const end = (): void => {
    if (ended) return
    ended = true
    clearInterval(liveness)
    on.closed(status)
  }
  ws.on('open', on.opened)
  ws.on('upgrade', (res) => tellSkew(res.headers.date, on.skew))
  ws.on('unexpected-response', (req, res) => {
    status = res.statusCode ?? null
    tellSkew(res.headers.date, on.skew)
    req.destroy()
    end()
  })
  ws.on('pong', () => {
    heard = true
  })
  ws.on('ping', (data: Buffer) => {
    heard = true
    const now = performance.now()
    if (now - lastPong < PONG_GAP_MS || ws.bufferedAmount > 0) return
    lastPong = now
    ws.pong(data)
  })
  ws.on('message', (data, isBinary) => {
    heard = true
    if (ended) return
    if (isBinary) return on.invalid('binary')
    const bytes = toBuffer(data)
    if (!looksSane(bytes)) return on.invalid('nested too deep or too full')
    const parsed = parseServerMessage(bytes)
    if (parsed.ok) on.message(parsed.message)
    else if (!parsed.unknown_type) on.invalid(parsed.error) // a newer control plane may say more than we know
  })
  ws.on('error', () => ws.terminate())
  ws.on('close', end)

  return {
    send: (message) => {
      if (ws.readyState !== WebSocket.OPEN) return
      if (ws.bufferedAmount > MAX_UNSENT) return ws.terminate()
      ws.send(JSON.stringify(message))
    },
    close: (code, reason) => {
      if (ws.readyState === WebSocket.OPEN) ws.close(code, reason)
      else ws.terminate()
      setTimeout(() => ws.terminate(), 2_000).unref()
    },
    destroy: () => ws.terminate(),
  }
}

function tellSkew(date: string | undefined, tell: LinkHandlers['skew']): void {
  const theirs = Date.parse(date ?? '')
  if (!Number.isNaN(theirs)) tell?.(Math.round((Date.now() - theirs) / 1000))
}

export function toBuffer(data: WebSocket.RawData): Buffer {
  if (Buffer.isBuffer(data)) return data
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data)
}
