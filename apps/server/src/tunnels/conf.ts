import { clientConfig } from '@prime-vpn/wireguard'
import { parseHostPort } from '../fleet/index.ts'
import type { Claim } from './claim-store.ts'

/** Everything goes through the tunnel, IPv6 too where the server has none: it must not leak beside it. */
export const ALLOWED_IPS = ['0.0.0.0/0', '::/0']
/** Fits an outer IPv6 header in an Ethernet frame: 1500 - 40 - 8 - 32. */
export const MTU = 1420
/** Seconds: shorter than the 30 s that routers commonly remember a UDP flow. */
const KEEPALIVE_S = 25
/** For an endpoint without a port, as imported servers may have it. */
const DEFAULT_PORT = 51_820

/** What a conf is made of. */
export type ConfParts = Pick<Claim, 'address' | 'address6' | 'server_key' | 'ip_address' | 'endpoint'> & {
  /** Null when the device made its own. */
  privateKey: string | null
  presharedKey: string
  dns: readonly string[]
}

/** The conf of a tunnel for wg-quick and the apps. Its endpoint is an address, so that no name must be looked up first. */
export function confOf(parts: ConfParts): string {
  return clientConfig({
    privateKey: parts.privateKey,
    addresses: [`${parts.address}/32`, `${parts.address6}/128`],
    dns: [...parts.dns],
    publicKey: parts.server_key,
    presharedKey: parts.presharedKey,
    endpoint: { address: parts.ip_address, port: parseHostPort(parts.endpoint)?.port ?? DEFAULT_PORT },
    allowedIps: ALLOWED_IPS,
    mtu: MTU,
    keepalive: KEEPALIVE_S,
  })
}
