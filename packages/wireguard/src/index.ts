export * from './errors.ts'
export { generateKeyPair, generatePresharedKey, isPublicKey, isSecretKey, publicKeyOf, type KeyPair } from './keys.ts'
export {
  canonicalCidr,
  formatAddress,
  formatCidr,
  networkOf,
  overlaps,
  parseAddress,
  parseCidr,
  type Cidr,
} from './addresses.ts'
export { FIRST_CUSTOMER_SLOT, NODE_SLOT, partsOf, slotAddress, slotOf, slotsOf, splitSubnet } from './slots.ts'
export { clientConfig, formatEndpoint, parseEndpoint, type ClientConfig, type Endpoint } from './config.ts'
export { parseConfig } from './parse-config.ts'
export type { Driver, InterfaceState, PeerOp, PeerState, PeerWish } from './driver.ts'
export { openDriver, type DriverOptions } from './open-driver.ts'
export { kernelHasWireguard, readLink, setLink, type LinkState } from './link.ts'
export { Initiator, type InitiatorKeys, type Sources } from './noise/initiator.ts'
export { Session } from './noise/session.ts'
export { openTunnel, probe, type Tunnel, type TunnelOptions } from './noise/tunnel.ts'
