import { randomBytes } from 'node:crypto'
import { formatAddress, partsOf, slotsOf } from '@prime-vpn/wireguard'
import { maybeOne, type Tx } from '../platform/db/index.ts'
import { Conflict, invalidField } from '../platform/errors.ts'

/** Slots 0 and 1 are the network and the node, the last address is the broadcast. */
const RESERVED = 3
const WIDEST = 16
/** Spare addresses let each rest for minutes although customers come and go: also a small server gets 253. */
const NARROWEST = 24

/** How many customers' addresses a subnet has. */
export const customerSlots = (subnet: string): number => Math.max(0, slotsOf(subnet) - 1)

/** The length of a network with at least twice as many addresses as tunnels, as far as `base` and a /16 reach. */
export function prefixFor(base: string, maxConnections: number): number {
  const own = Number(base.split('/')[1])
  const bits = Math.ceil(Math.log2(2 * maxConnections + RESERVED))
  return Math.max(own, WIDEST, Math.min(NARROWEST, 32 - bits))
}

/** A random /64 of locally assigned addresses (RFC 4193: fd, 40 random bits, 16 bits of subnet). */
export function randomUla(bytes: (size: number) => Buffer = randomBytes): string {
  const value = (0xfdn << 56n) | BigInt(`0x${bytes(7).toString('hex')}`)
  return `${formatAddress(6, value << 64n)}/64`
}

/** Any number: who looks for a free part does it alone, else all racers would find the same one. */
const TURN = 7_460_020

/**
 * The first part of `base` that overlaps no server's subnet, kept for this transaction.
 * @throws {Conflict} there is none left
 */
export async function takeSubnet(tx: Tx, base: string, maxConnections: number): Promise<string> {
  const prefix = prefixFor(base, maxConnections)
  const parts = Number(partsOf(base, prefix))
  await tx`select pg_advisory_xact_lock(${TURN})`
  const free = await maybeOne(tx<{ part: string }[]>`
    select part::text from generate_series(0::bigint, ${parts - 1}::bigint) n,
           lateral (select set_masklen(${base}::cidr + n * ${2 ** (32 - prefix)}::bigint, ${prefix})::cidr as part) p
     where not exists (select from vpn_servers where subnet_v4 && part)
     order by n limit 1`)
  if (!free) throw new Conflict(`VPN_SUBNET (${base}) has no free part left for another server.`)
  return free.part
}

/** @throws {InvalidInput} fewer addresses than tunnels */
export function assertRoom(subnet: string, maxConnections: number): void {
  const slots = customerSlots(subnet)
  if (slots < maxConnections)
    throw invalidField('max_connections', `must be at most ${slots}, what the subnet ${subnet} holds`)
}
