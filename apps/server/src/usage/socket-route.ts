import { assertMay, bearerOf, type Auth } from '../auth/index.ts'
import { AppError, invalidField, NotFound, Unauthenticated } from '../platform/errors.ts'
import type { UpgradeRequest, UpgradeRoute } from '../platform/http/index.ts'
import type { Kv } from '../platform/kv/index.ts'
import type { Admission } from './socket.ts'
import type { Sockets } from './sockets.ts'
import { isTicket, takeTicket } from './tickets.ts'

const MAX_PAYLOAD = 16 * 1024
const MAX_SOCKETS = 10
const RETRY_S = 60
const PROTOCOL = 'prime.v1'
const BEARER_PROTOCOL = 'bearer.'

export type SocketRouteDeps = {
  auth: Pick<Auth, 'authenticateToken' | 'refreshPrincipal'>
  kv: Kv
  sockets: Sockets
  /** `WS_QUERY_JWT` */
  queryJwt: boolean
  /** The rule `WEBSOCKET` for opens by ticket, whose user is known only here; throws when there are too many. */
  limit?: (userId: string, req: UpgradeRequest) => Promise<void>
}

/** The one token of the request, in the order of the contract. */
function tokenOf(req: UpgradeRequest, queryJwt: boolean): { token: string; ticket: boolean } {
  const token = bearerOf(req.raw.headers.authorization)
  if (token !== undefined) return { token, ticket: false }
  const offered = req.protocols.find((protocol) => protocol.startsWith(BEARER_PROTOCOL))
  if (offered !== undefined) return { token: offered.slice(BEARER_PROTOCOL.length), ticket: false }
  const asked = req.query.token
  if (asked === undefined || asked === '') throw new Unauthenticated()
  if (isTicket(asked)) return { token: asked, ticket: true }
  if (!queryJwt) throw new Unauthenticated('A token in the address is not accepted: ask for a ticket.')
  return { token: asked, ticket: false }
}

async function admit(req: UpgradeRequest, { auth, kv, queryJwt, limit }: SocketRouteDeps): Promise<Admission> {
  const { token, ticket } = tokenOf(req, queryJwt)
  const principal = ticket ? await takeTicket(kv, auth, token) : await auth.authenticateToken(token)
  if (ticket) await limit?.(principal.userId, req)
  // A ticket stands for its session, a token for itself.
  return { principal, until: ticket ? principal.sessionExpiresAt : principal.credentialExpiresAt }
}

/** What we select of the subprotocols: ours, or the old clients' own `bearer.` when it is all they offer. */
function protocolOf({ protocols }: UpgradeRequest): string | undefined {
  if (protocols.includes(PROTOCOL)) return PROTOCOL
  return protocols.find((protocol) => protocol.startsWith(BEARER_PROTOCOL))
}

/** `WS /ws/connection/{user_id}`: live metrics of one's own tunnels. Everything is judged before the upgrade. */
export function socketRoute(deps: SocketRouteDeps): UpgradeRoute {
  const { sockets } = deps
  return {
    path: '/api/v1/ws/connection/:user_id',
    maxPayload: MAX_PAYLOAD,
    async handle(req, accept) {
      const unknown = Object.keys(req.query).find((name) => name !== 'token')
      if (unknown !== undefined) throw invalidField(unknown.slice(0, 100), 'is not known here')
      const admission = await admit(req, deps)
      const { principal } = admission
      assertMay(principal, 'usage:read')
      if (req.params.user_id?.toLowerCase() !== principal.userId) throw new NotFound()
      if (sockets.countOf(principal.userId) >= MAX_SOCKETS)
        throw new AppError('RATE_LIMITED', 'Too many sockets are open.', { retry_after: RETRY_S })
      await sockets.open(await accept(protocolOf(req)), admission)
    },
  }
}
