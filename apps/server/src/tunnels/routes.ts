import { z } from 'zod'
import { principalOf } from '../auth/index.ts'
import { ErrorBody, Id, type App } from '../platform/http/index.ts'
import { connect } from './connect.ts'
import type { TunnelDeps } from './deps.ts'
import { disconnect } from './disconnect.ts'
import {
  ConnectAnswer,
  ConnectBody,
  ConnectQuery,
  DisconnectAnswer,
  DisconnectBody,
  DisconnectOneBody,
  StatusAnswer,
} from './schemas.ts'
import { status } from './status.ts'

const tags = ['Connections']
const refusals = { 400: ErrorBody, 401: ErrorBody, 403: ErrorBody, 404: ErrorBody, 429: ErrorBody }

/** `/vpn/*` and its other name `/connection/*`. */
export function tunnelRoutes(app: App, deps: TunnelDeps): void {
  for (const base of ['/api/v1/vpn', '/api/v1/connection']) {
    const again = base.endsWith('/connection') ? ' (alias)' : ''

    app.post(
      `${base}/connect`,
      {
        schema: {
          tags,
          summary: `Open a tunnel, or move the one this device has${again}`,
          querystring: ConnectQuery,
          body: ConnectBody,
          response: { 201: ConnectAnswer, ...refusals, 409: ErrorBody, 503: ErrorBody },
        },
        config: { needs: 'vpn:use', rule: 'VPN_CONNECT', idempotent: 'connect' },
      },
      async (req, reply) => {
        const { userId, entitlement, isVerified } = principalOf(req)
        const caller = { userId, tier: entitlement.tier, isVerified, place: deps.placeOf?.(req) }
        const wish = req.query.location === undefined ? req.body : { ...req.body, location: req.query.location }
        return reply.code(201).send(await connect(deps, caller, wish, req.idempotency ?? null))
      },
    )

    app.post(
      `${base}/disconnect`,
      {
        schema: {
          tags,
          summary: `End a tunnel${again}`,
          body: DisconnectBody,
          response: { 200: DisconnectAnswer, ...refusals },
        },
        config: { needs: 'vpn:use' },
      },
      async (req) => {
        const { connection_id, ...counts } = req.body
        return disconnect(deps, principalOf(req).userId, connection_id, counts, deps.clientAddress(req))
      },
    )

    app.post(
      `${base}/disconnect/:connection_id`,
      {
        schema: {
          tags,
          summary: `End this tunnel${again}`,
          params: z.strictObject({ connection_id: Id }),
          body: DisconnectOneBody,
          response: { 200: DisconnectAnswer, ...refusals },
        },
        config: { needs: 'vpn:use' },
      },
      async (req) =>
        disconnect(deps, principalOf(req).userId, req.params.connection_id, req.body, deps.clientAddress(req)),
    )

    app.get(
      `${base}/status`,
      {
        schema: {
          tags,
          summary: `The active tunnels${again}`,
          response: { 200: StatusAnswer, 401: ErrorBody, 429: ErrorBody },
        },
        config: { needs: 'vpn:use' },
      },
      async (req) => status(deps, principalOf(req).userId),
    )
  }
}
