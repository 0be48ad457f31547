import { isPublicKey } from '@prime-vpn/wireguard'
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { principalOf } from '../auth/index.ts'
import type { Sql } from '../platform/db/index.ts'
import { ErrorBody, Id, listAnswer, listOf, PageQuery, plainText, Time, type App } from '../platform/http/index.ts'
import { addDevice } from './add.ts'
import { removeDevice } from './remove.ts'
import { listDevices } from './store.ts'

/** A WireGuard public key in its one spelling: canonical base64 of 32 bytes, no point of small order. */
export const PublicKey = z
  .string()
  .max(44)
  .refine(isPublicKey, 'must be a WireGuard public key: base64 of 32 bytes, as `wg pubkey` prints it')

export const Device = z.object({
  id: Id,
  name: z.string(),
  platform: z.string(),
  public_key: z.string().nullable(),
  last_connected: Time.nullable(),
  ip_address: z.string().nullable().meta({ description: 'of its tunnel; null without one' }),
})

export type DeviceRoutesDeps = {
  db: Sql
  /** Whether the call travels through a present tunnel of the device; without tunnels none does. */
  carriesDevice?: (deviceId: string, req: FastifyRequest) => Promise<boolean>
}

/** A customer's own devices. */
export function deviceRoutes(app: App, { db, carriesDevice }: DeviceRoutesDeps): void {
  app.get(
    '/api/v1/users/me/devices',
    {
      config: { needs: 'devices:read' },
      schema: {
        tags: ['devices'],
        summary: 'My devices',
        querystring: PageQuery,
        response: { 200: listOf(Device) },
      },
    },
    async (req) => {
      const { rows, total } = await listDevices(db, principalOf(req).userId, req.query)
      return listAnswer(req.url, req.query, total, rows)
    },
  )

  app.post(
    '/api/v1/users/me/devices',
    {
      config: { needs: 'devices:write', idempotent: true },
      schema: {
        tags: ['devices'],
        summary: 'Add a device',
        description: 'As many as the plan allows. One public key serves one device of one account.',
        body: z.strictObject({
          name: plainText(1, 100),
          platform: plainText(1, 40),
          public_key: PublicKey.optional(),
        }),
        response: { 201: Device, 400: ErrorBody, 403: ErrorBody, 409: ErrorBody },
      },
    },
    async (req, reply) =>
      reply.code(201).send(await addDevice(db, principalOf(req), req.body, req.idempotency ?? null)),
  )

  app.delete(
    '/api/v1/users/me/devices/:device_id',
    {
      config: { needs: 'devices:write' },
      schema: {
        tags: ['devices'],
        summary: 'Remove a device',
        description: 'Its tunnels end at once.',
        params: z.strictObject({ device_id: Id }),
        response: { 204: z.void(), 404: ErrorBody },
      },
    },
    async (req, reply) => {
      const id = req.params.device_id
      await removeDevice(db, principalOf(req).userId, id, (await carriesDevice?.(id, req)) ?? false)
      return reply.code(204).send()
    },
  )
}
