import { formatAddress, formatCidr, networkOf, parseAddress, parseCidr, type Cidr } from './addresses.ts'
import { InvalidValue } from './errors.ts'

/** The node's own slot in its subnet; slot 0 is the network itself. */
export const NODE_SLOT = 1
/** The first slot a customer may get. */
export const FIRST_CUSTOMER_SLOT = 2

const V6_SLOTS = 2 ** 32 - 1

/**
 * The highest slot that may be given: the last address of an IPv4 subnet is its broadcast address and stays free.
 * For IPv6 (at most a /96) the slots are bounded by 32 bits. A /31 or /32 has no slots: 0.
 * @throws {InvalidValue} not a network with clear host bits
 */
export function slotsOf(subnet: string): number {
  const net = parseSubnet(subnet)
  if (net.family === 6) return V6_SLOTS
  return Math.max(0, 2 ** (32 - net.prefix) - 2)
}

/**
 * The address (without length) that belongs to a slot: network + slot.
 * @throws {InvalidValue} the subnet has no such slot
 */
export function slotAddress(subnet: string, slot: number): string {
  const net = parseSubnet(subnet)
  if (!Number.isInteger(slot) || slot < 0 || slot > slotsOf(subnet))
    throw new InvalidValue('slot', 'must be a slot of the subnet')
  return formatAddress(net.family, net.value + BigInt(slot))
}

/** The slot an address belongs to, or null when it lies outside the subnet or is its broadcast address. */
export function slotOf(subnet: string, address: string): number | null {
  const net = parseSubnet(subnet)
  const { family, value } = parseAddress(address)
  const slot = value - net.value
  return family === net.family && slot >= 0n && slot <= BigInt(slotsOf(subnet)) ? Number(slot) : null
}

/** How many networks of length `prefix` lie in `base`. @throws {InvalidValue} */
export function partsOf(base: string, prefix: number): bigint {
  const net = parseSubnet(base, 'base')
  const bits = net.family === 4 ? 32 : 128
  if (!Number.isInteger(prefix) || prefix < net.prefix || prefix > bits)
    throw new InvalidValue('prefix', 'must be between the length of the base and a single address')
  return 1n << BigInt(prefix - net.prefix)
}

/** The n-th (from 0) network of length `prefix` in `base`. @throws {InvalidValue} there is none */
export function splitSubnet(base: string, prefix: number, n: number | bigint): string {
  const parts = partsOf(base, prefix)
  if (typeof n === 'number' && !Number.isSafeInteger(n)) throw new InvalidValue('n', 'must be a whole number')
  if (n < 0 || BigInt(n) >= parts) throw new InvalidValue('n', 'must be a part of the base')
  const net = parseSubnet(base, 'base')
  const size = BigInt((net.family === 4 ? 32 : 128) - prefix)
  return formatCidr({ ...net, prefix, value: net.value + (BigInt(n) << size) })
}

function parseSubnet(text: string, field = 'subnet'): Cidr {
  const net = parseCidr(text, field)
  if (networkOf(net).value !== net.value) throw new InvalidValue(field, 'must have clear host bits')
  if (field === 'subnet' && net.family === 6 && net.prefix > 96) throw new InvalidValue(field, 'must be a /96 or wider')
  return net
}
