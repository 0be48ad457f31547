import { randomBytes } from 'node:crypto'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { securityHeaders } from '../platform/http/index.ts'
import type { Clients } from './client.ts'
import { bannedMs, type Bans } from './bans/bans.ts'
import { countedAs } from './keys.ts'
import { BANNED_MESSAGE, seconds } from './refusals.ts'
import type { Fleet } from './fleet-addresses.ts'
import { FLEET_ANONYMOUS_FACTOR } from './rules.ts'
import type { Violations } from './violations.ts'

type Deps = {
  bans: Bans
  clients: Clients
  fleet: Fleet
  violations: Violations
  connectionsPerAddress: number
  https: boolean
}

const GIVEN_ID = /^[A-Za-z0-9._-]{1,64}$/
const run = randomBytes(6).toString('base64url')
let counter = 0

/** Names a refused request: unique, and a fraction of what randomness for each would cost. */
const nextId = (): string => `req_${run}${(counter++).toString(36)}`

/** What a refusal needs to know; read from the raw lines, so that it builds no header object. */
type Seen = { requestId: string | undefined; hasBody: boolean }

function lookAt({ rawHeaders }: IncomingMessage): Seen {
  const seen: Seen = { requestId: undefined, hasBody: false }
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? ''
    // By length first: of a dozen names one or two are looked at closely.
    if (name.length === 12 && name.toLowerCase() === 'x-request-id') seen.requestId = rawHeaders[i + 1]
    else if (name.length === 14 && name.toLowerCase() === 'content-length') seen.hasBody = true
    else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') seen.hasBody = true
  }
  return seen
}

/** Answers from a banned address: the contract's body and headers, straight on the response. */
function refuser(https: boolean) {
  const fixed = Object.entries(securityHeaders(https)).flat()
  fixed.push('content-type', 'application/json; charset=utf-8')
  const before = `{"error":{"code":"IP_BANNED","message":"${BANNED_MESSAGE}","retry_after":`
  return (req: IncomingMessage, res: ServerResponse, leftMs: number): void => {
    const seen = lookAt(req)
    const id = seen.requestId !== undefined && GIVEN_ID.test(seen.requestId) ? seen.requestId : nextId()
    const wait = String(seconds(leftMs))
    const body = `${before}${wait},"request_id":"${id}"}}`
    const own = ['x-request-id', id, 'retry-after', wait, 'content-length', String(body.length)]
    // A body that nobody will read must not be waited for.
    if (seen.hasBody) own.push('connection', 'close')
    res.writeHead(429, [...fixed, ...own])
    res.end(body)
  }
}

/** How many connections each address holds. */
class Connections {
  readonly #open = new Map<string, number>()
  /** @returns false when there are `max` already */
  add(key: string, max: number): boolean {
    const open = this.#open.get(key) ?? 0
    if (open >= max) return false
    this.#open.set(key, open + 1)
    return true
  }
  remove(key: string): void {
    const open = (this.#open.get(key) ?? 1) - 1
    if (open > 0) this.#open.set(key, open)
    else this.#open.delete(key)
  }
}

/**
 * Stands before the router: a banned address is answered here, at about the price of a bare 404, and nobody holds more
 * than so many connections. A trusted proxy and a listed address may hold any number. Call it once, before listening.
 */
export function shieldServer(server: Server, deps: Deps): void {
  const { bans, clients, fleet, violations } = deps
  const refuse = refuser(deps.https)
  const connections = new Connections()

  server.on('connection', (socket: Socket) => {
    const peer = clients.peerOf(socket)
    if (clients.isTrusted(peer) || clients.isListed(peer)) return
    const key = countedAs(peer)
    const max = deps.connectionsPerAddress * (fleet.has(peer) ? FLEET_ANONYMOUS_FACTOR : 1)
    if (!connections.add(key, max)) {
      socket.destroy()
      return
    }
    socket.once('close', () => connections.remove(key))
  })

  const handlers = server.listeners('request') as ((req: IncomingMessage, res: ServerResponse) => void)[]
  server.removeAllListeners('request')
  server.on('request', (req, res) => {
    if (bans.size > 0) {
      const client = clients.of(req)
      const leftMs = bannedMs(client, bans, fleet)
      if (leftMs > 0) {
        violations.note('BAN', 'any', client)
        return refuse(req, res, leftMs)
      }
    }
    for (const handle of handlers) handle(req, res)
  })
}
