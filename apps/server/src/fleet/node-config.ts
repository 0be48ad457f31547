import type { NodeConfig } from '@prime-vpn/node-protocol'
import { NODE_SLOT, slotAddress } from '@prime-vpn/wireguard'
import { parseHostPort } from './fields.ts'

/** Fits a path of 1500 bytes with WireGuard's 80 bytes over IPv6. */
const MTU = 1420

const nodeAddress = (subnet: string): string => `${slotAddress(subnet, NODE_SLOT)}/${subnet.split('/')[1]}`

/** How a server's interface is set. @param listen_port null = the endpoint's */
export function nodeConfig(server: {
  subnet_v4: string
  subnet_v6: string
  endpoint: string
  listen_port: number | null
}): NodeConfig {
  const port = server.listen_port ?? parseHostPort(server.endpoint)?.port
  if (port === undefined) throw new Error('a stored endpoint without port')
  const addresses = [nodeAddress(server.subnet_v4), nodeAddress(server.subnet_v6)]
  return { addresses, listen_port: port, mtu: MTU, dns: [], open: [] }
}
