import type { FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { principalOf } from '../auth/index.ts'
import { Device, PublicKey } from '../devices/index.ts'
import { ErrorBody, Id, plainText, Time, type App } from '../platform/http/index.ts'
import type { Caller } from './connect.ts'
import type { TunnelDeps } from './deps.ts'
import { makeConfig, qrOf, renderConfig, type DeviceConfig } from './device-config.ts'
import { rotateDeviceKey } from './device-key.ts'
import { fetchSubscription, subscribeDevice, unsubscribeDevice } from './device-subscription.ts'
import { ConnectAnswer } from './schemas.ts'

const tags = ['devices']
const params = z.strictObject({ device_id: Id })
const ServerWish = z.strictObject({ server_id: Id.optional(), location: plainText(1, 100).optional() })
const refusals = { 400: ErrorBody, 401: ErrorBody, 403: ErrorBody, 404: ErrorBody, 409: ErrorBody, 429: ErrorBody }
const opening = { ...refusals, 503: ErrorBody }
const BASE = '/api/v1/users/me/devices/:device_id'

export type DeviceTunnelDeps = TunnelDeps & {
  /** What subscription URLs start with. */
  publicUrl: string
}

const callerOf = (deps: TunnelDeps, req: FastifyRequest): Caller => {
  const { userId, entitlement, isVerified } = principalOf(req)
  return { userId, tier: entitlement.tier, isVerified, place: deps.placeOf?.(req) }
}

/** The name is ours and plain ASCII: nothing to encode, nothing to smuggle. */
const download = (reply: FastifyReply, filename: string, type: string): FastifyReply =>
  reply.header('content-disposition', `attachment; filename="${filename}"`).type(type)

const sendConf = (reply: FastifyReply, { config, filename }: DeviceConfig): FastifyReply =>
  download(reply, filename, 'text/plain; charset=utf-8').serializer(String).send(config)

/** What concerns a device and its tunnel: another key, its conf to download, the address that gives it. */
export function deviceTunnelRoutes(app: App, deps: DeviceTunnelDeps): void {
  app.put(
    `${BASE}/key`,
    {
      config: { needs: 'devices:write', rule: 'VPN_CONNECT' },
      schema: {
        tags,
        summary: 'Give a device another key',
        description:
          'With a tunnel the old key works until the first handshake of the new one, at most 10 minutes; `connection` is ' +
          'the new one. Without room for both the tunnel passes to the new key at once. Revokes the subscription URL.',
        params,
        body: z.strictObject({ public_key: PublicKey }),
        response: {
          200: Device.extend({ next_rotation_at: Time, connection: ConnectAnswer.optional() }),
          ...opening,
        },
      },
    },
    async (req) =>
      rotateDeviceKey(deps, {
        userId: principalOf(req).userId,
        deviceId: req.params.device_id,
        publicKey: req.body.public_key,
      }),
  )

  app.post(
    `${BASE}/config`,
    {
      config: { needs: 'vpn:use', rule: 'VPN_CONNECT', idempotent: true },
      schema: {
        tags,
        summary: 'Make a key pair and tunnel for a device',
        description: 'The private key is in the answer this once. Revokes the subscription URL.',
        params,
        body: ServerWish,
        response: {
          201: z.object({
            config: z.string().meta({ description: 'for wg-quick and the WireGuard apps' }),
            qr: z.string().meta({ description: 'the same as a picture, an SVG data URL' }),
            filename: z.string(),
          }),
          ...opening,
        },
      },
    },
    async (req, reply) => {
      const idempotency = req.idempotency ?? null
      const { config, filename } = await makeConfig(
        deps,
        callerOf(deps, req),
        req.params.device_id,
        req.body,
        idempotency,
      )
      const qr = `data:image/svg+xml;base64,${Buffer.from(qrOf(config)).toString('base64')}`
      return reply.code(201).send({ config, qr, filename })
    },
  )

  app.get(
    `${BASE}/config`,
    {
      config: { needs: 'vpn:use' },
      schema: {
        tags,
        summary: 'The conf of the present tunnel',
        description: '`text/plain`; a line says that the private key is on the device. 409 without a tunnel.',
        params,
        response: { ...refusals },
      },
    },
    async (req, reply) =>
      sendConf(reply, await renderConfig(deps, principalOf(req).userId, req.params.device_id, null)),
  )

  app.get(
    `${BASE}/qr`,
    {
      config: { needs: 'vpn:use' },
      schema: {
        tags,
        summary: 'The conf of the present tunnel as a QR code',
        description: '`image/svg+xml`. 409 without a tunnel.',
        params,
        response: { ...refusals },
      },
    },
    async (req, reply) => {
      const { config, filename } = await renderConfig(deps, principalOf(req).userId, req.params.device_id, null)
      const name = filename.replace(/\.conf$/, '.svg')
      return download(reply, name, 'image/svg+xml').serializer(String).send(qrOf(config))
    },
  )

  app.post(
    `${BASE}/subscription-url`,
    {
      config: { needs: 'vpn:use', rule: 'VPN_CONNECT', idempotent: true },
      schema: {
        tags,
        summary: 'Make an address that gives the conf of a device',
        description: 'With a new key pair and tunnel; whoever has the address has the tunnel. A new one ends the old.',
        params,
        body: ServerWish,
        response: { 201: z.object({ url: z.string() }), ...opening },
      },
    },
    async (req, reply) => {
      const idempotency = req.idempotency ?? null
      const token = await subscribeDevice(deps, callerOf(deps, req), req.params.device_id, req.body, idempotency)
      return reply.code(201).send({ url: `${deps.publicUrl}/sub/${token}` })
    },
  )

  app.delete(
    `${BASE}/subscription-url`,
    {
      config: { needs: 'vpn:use' },
      schema: { tags, summary: 'Revoke the address', params, response: { 204: z.void(), ...refusals } },
    },
    async (req, reply) => {
      await unsubscribeDevice(deps, principalOf(req).userId, req.params.device_id)
      return reply.code(204).send()
    },
  )

  app.get(
    '/sub/:token',
    {
      config: { needs: 'public' },
      schema: {
        tags,
        summary: 'The conf of a device, for apps and routers',
        description: '`text/plain`, private key included. 404: unknown or revoked. 409: no tunnel at the moment.',
        params: z.strictObject({ token: z.string().max(256) }),
        response: { 404: ErrorBody, 409: ErrorBody, 429: ErrorBody },
      },
    },
    async (req, reply) => sendConf(reply, await fetchSubscription(deps, req.params.token)),
  )
}
