import type { Db } from '../platform/db/index.ts'
import type { LiveKey, TunnelDeps } from './deps.ts'
import type { StatusAnswer } from './schemas.ts'

type Row = {
  id: string
  device_id: string | null
  assigned_ip: string
  slot: number
  version: bigint
  started_at: Date
  bytes_sent: bigint
  bytes_received: bigint
  last_handshake_at: Date | null
  server_id: string
  hostname: string
  location: string
  ip_address: string
  endpoint: string
}

const active = (db: Db, userId: string) => db<Row[]>`
  select c.id, c.device_id, host(c.client_ip) as assigned_ip, c.lease_slot as slot, c.lease_version as version,
         c.started_at, c.bytes_sent, c.bytes_received, c.last_handshake_at,
         s.id as server_id, s.hostname, s.location, host(s.ip_address) as ip_address, s.endpoint
    from connections c join vpn_servers s on s.id = c.server_id
   where c.user_id = ${userId} and c.status = 'connected' and c.superseded_at is null
   order by c.started_at, c.id`

const latest = (a: Date | null, b: Date | null): Date | null => (a && b ? (a > b ? a : b) : (a ?? b))
const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b)

/** The user's tunnels with their present numbers. Asking has them reported each second for a while. */
export async function status({ db, live, fleet }: TunnelDeps, userId: string): Promise<StatusAnswer> {
  const rows = await active(db, userId)
  const keys: LiveKey[] = rows.map((row) => ({
    connectionId: row.id,
    serverId: row.server_id,
    slot: row.slot,
    version: Number(row.version),
  }))
  if (keys.length > 0) live.watch(keys)
  const samples = keys.length > 0 ? await live.read(keys) : []
  return {
    connections: rows.map((row, i) => {
      const sample = samples[i] ?? null
      return {
        connection_id: row.id,
        status: 'active',
        device_id: row.device_id,
        server: {
          id: row.server_id,
          hostname: row.hostname,
          ip_address: row.ip_address,
          location: row.location,
          endpoint: row.endpoint,
        },
        assigned_ip: row.assigned_ip,
        started_at: row.started_at,
        bytes_sent: larger(row.bytes_sent, sample?.bytesSent ?? 0n),
        bytes_received: larger(row.bytes_received, sample?.bytesReceived ?? 0n),
        upload_speed_mbps: sample?.uploadMbps ?? 0,
        download_speed_mbps: sample?.downloadMbps ?? 0,
        last_handshake: latest(row.last_handshake_at, sample?.lastHandshake ?? null),
        server_load_pct: fleet.byId(row.server_id)?.view.load ?? null,
      }
    }),
  }
}
