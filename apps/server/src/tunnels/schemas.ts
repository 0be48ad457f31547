import { z } from 'zod'
import { isPublicKey } from '@prime-vpn/wireguard'
import { Count, Id, PageQuery, plainText, Time } from '../platform/http/index.ts'

const place = plainText(1, 100)
const bytes = z.int().min(0)

export const ConnectBody = z.strictObject({
  server_id: Id.optional(),
  location: place.optional().meta({ description: 'country code, city or location' }),
  country: place.optional().meta({ description: 'code or name' }),
  feature: z
    .string()
    .regex(/^[a-z0-9_]{1,40}$/)
    .optional(),
  device_id: Id.optional(),
  client_public_key: z.string().refine(isPublicKey, 'must be a WireGuard public key').optional(),
  multihop_entry_id: z.null({ error: 'is not available' }).optional(),
  post_quantum: z.literal(false, { error: 'is not available' }).optional(),
})
export type ConnectBody = z.infer<typeof ConnectBody>

export const ConnectQuery = z.strictObject({ location: place.optional() })

const TunnelServer = z
  .object({ id: Id, hostname: z.string(), ip_address: z.string(), location: z.string(), endpoint: z.string() })
  .meta({ id: 'TunnelServer' })

export const ConnectAnswer = z
  .object({
    connection_id: Id,
    status: z.literal('active'),
    server: TunnelServer,
    server_endpoint: z.string(),
    server_public_key: z.string(),
    preshared_key: z.string(),
    assigned_ip: z.string(),
    assigned_ipv6: z.string().nullable(),
    dns: z.array(z.string()),
    allowed_ips: z.array(z.string()),
    mtu: z.int(),
    wg_config: z.string().meta({ description: 'for wg-quick; holds the private key only when we made it, this once' }),
    started_at: Time,
    expires_at: Time.nullable().meta({ description: 'end of the plan' }),
  })
  .meta({ id: 'Connection' })
export type ConnectAnswer = z.infer<typeof ConnectAnswer>

export const DisconnectBody = z.strictObject({
  connection_id: Id.optional(),
  bytes_sent: bytes.optional().meta({ description: 'what the app counted; kept beside ours when it differs' }),
  bytes_received: bytes.optional(),
})
export const DisconnectOneBody = DisconnectBody.omit({ connection_id: true })
export type ClientCounts = z.infer<typeof DisconnectOneBody>

export const DisconnectAnswer = z
  .object({
    connection_id: Id,
    status: z.literal('ended'),
    started_at: Time,
    ended_at: Time,
    duration: z.string().meta({ description: 'e.g. `1h 4m 9s`' }),
    duration_seconds: z.int(),
    bytes_sent: Count,
    bytes_received: Count,
    total_bytes: Count,
    totals_final: z.boolean().meta({ description: 'false: the last counters of the server had not come yet' }),
    summary: z.object({ avg_speed: z.string(), peak_speed: z.string() }),
  })
  .meta({ id: 'EndedConnection' })
export type DisconnectAnswer = z.infer<typeof DisconnectAnswer>

const Mbps = z.number().meta({ description: 'Mbit/s' })
export const StatusAnswer = z.object({
  connections: z.array(
    z
      .object({
        connection_id: Id,
        status: z.literal('active'),
        device_id: Id.nullable(),
        server: TunnelServer,
        assigned_ip: z.string(),
        started_at: Time,
        bytes_sent: Count,
        bytes_received: Count,
        upload_speed_mbps: Mbps,
        download_speed_mbps: Mbps,
        last_handshake: Time.nullable(),
        server_load_pct: z.number().nullable(),
      })
      .meta({ id: 'ActiveConnection' }),
  ),
})
export type StatusAnswer = z.infer<typeof StatusAnswer>

export const AdminQuery = PageQuery.extend({
  user_id: Id.optional(),
  server_id: Id.optional(),
  status: z.enum(['active', 'ended']).optional(),
})
export type AdminQuery = z.infer<typeof AdminQuery>

export const AdminConnection = z
  .object({
    connection_id: Id,
    user_id: Id,
    server_id: Id.nullable(),
    device_id: Id.nullable(),
    status: z.enum(['active', 'ended']),
    reason: z.string().nullable(),
    assigned_ip: z.string(),
    started_at: Time,
    ended_at: Time.nullable(),
    bytes_sent: Count,
    bytes_received: Count,
  })
  .meta({ id: 'AdminConnection' })
export type AdminConnection = z.infer<typeof AdminConnection>
