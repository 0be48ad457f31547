import type { Claim } from './claim-store.ts'
import { ALLOWED_IPS, confOf, MTU } from './conf.ts'
import type { ConnectAnswer } from './schemas.ts'

/** What a connect answers. @param privateKey made here and told this once, or null when the device has its own */
export function answerOf(
  claim: Claim,
  presharedKey: string,
  privateKey: string | null,
  dns: readonly string[],
): ConnectAnswer {
  return {
    connection_id: claim.connection,
    status: 'active',
    server: {
      id: claim.server,
      hostname: claim.hostname,
      ip_address: claim.ip_address,
      location: claim.location,
      endpoint: claim.endpoint,
    },
    server_endpoint: claim.endpoint,
    server_public_key: claim.server_key,
    preshared_key: presharedKey,
    assigned_ip: claim.address,
    assigned_ipv6: claim.address6,
    dns: [...dns],
    allowed_ips: ALLOWED_IPS,
    mtu: MTU,
    wg_config: confOf({ ...claim, privateKey, presharedKey, dns }),
    started_at: claim.started_at,
    expires_at: claim.expires_at,
  }
}
