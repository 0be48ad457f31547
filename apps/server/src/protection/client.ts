import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { parseAddress, parseNetwork, type Address, type Network } from './address/address.ts'
import { clientBehind } from './address/forwarded.ts'
import { NetworkMap } from './address/network-map.ts'
import { countedAs, type CallerIds, type Id } from './keys.ts'

type Names = { epoch: number; address: Id; prefix: Id | null }

/** Whose request it is, as far as the network tells. */
export class Client {
  readonly address: Address
  /** A private or loopback peer that forwards for others without being trusted: a proxy that nobody configured. */
  readonly looksLikeProxy: boolean
  /** On `DDOS_WHITELIST_IPS`. */
  readonly listed: boolean
  readonly #ids: CallerIds
  #names: Names | null = null
  #countedAs: string | undefined

  constructor(address: Address, looksLikeProxy: boolean, listed: boolean, ids: CallerIds) {
    this.address = address
    this.looksLikeProxy = looksLikeProxy
    this.listed = listed
    this.#ids = ids
  }

  /** The block it counts as, readable: for the list of offenders only. */
  get countedAs(): string {
    return (this.#countedAs ??= countedAs(this.address))
  }

  /** Its names in the limiter: made when first asked for, since a banned caller needs none, and again when they change. */
  get ids(): Names {
    const { epoch } = this.#ids
    if (this.#names?.epoch === epoch) return this.#names
    const prefix = this.address.family === 6 ? this.#ids.ofPrefix(this.address) : null
    this.#names = { epoch, address: this.#ids.ofAddress(this.address), prefix }
    return this.#names
  }
}

/** The peer of a connection that is gone already, or of a Unix socket. */
const NOBODY: Address = { family: 4, words: [0, 0, 0xffff, 0] }

const LOOPBACK = ['127.0.0.0/8', '::1']
const PRIVATE = [
  ...LOOPBACK,
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '100.64.0.0/10',
  '169.254.0.0/16',
  'fc00::/7',
  'fe80::/10',
]

const blocks = (texts: string[]): Network[] => texts.flatMap((text) => parseNetwork(text) ?? [])

type Peer = { address: Address; trusted: boolean; plain: boolean; header: string | undefined; client: Client }

/** A set of blocks. */
export function setOf(networks: Iterable<Network>): NetworkMap<true> {
  const set = new NetworkMap<true>()
  for (const network of networks) set.set(network, true)
  return set
}

const one = (header: string | string[] | undefined): string | undefined =>
  Array.isArray(header) ? header.join(',') : header

/** True when a request names others in front of its peer; reads the raw lines, so that no header object is built. */
function forwards(rawHeaders: readonly string[] | undefined): boolean {
  if (!rawHeaders) return true
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] ?? ''
    if (name.length === 15 && name.toLowerCase() === 'x-forwarded-for') return true
    if (name.length === 9 && name.toLowerCase() === 'forwarded') return true
  }
  return false
}

/**
 * Tells who a request comes from. Kept with the socket, so that the requests of one connection are worked out once.
 * @throws nothing: what cannot be read counts for nothing
 */
export class Clients {
  readonly #trusted: NetworkMap<true>
  readonly #listed: NetworkMap<true>
  readonly #private: NetworkMap<true>
  readonly #loopback: NetworkMap<true>
  readonly #ids: CallerIds
  readonly #peers = new WeakMap<Socket, Peer>()

  constructor(trusted: readonly Network[], listed: readonly Network[], ids: CallerIds) {
    this.#trusted = setOf(trusted)
    this.#listed = setOf(listed)
    this.#private = setOf(blocks(PRIVATE))
    this.#loopback = setOf(blocks(LOOPBACK))
    this.#ids = ids
  }

  isTrusted = (address: Address): boolean => this.#trusted.find(address) !== undefined
  isPrivate = (address: Address): boolean => this.#private.find(address) !== undefined
  isLoopback = (address: Address): boolean => this.#loopback.find(address) !== undefined
  isListed = (address: Address): boolean => this.#listed.find(address) !== undefined

  /** The other end of the connection, whatever it says about others. */
  peerOf(socket: Socket): Address {
    // A link-local peer carries the zone of our own interface, which is no part of its address.
    return parseAddress((socket.remoteAddress ?? '').split('%')[0] ?? '') ?? NOBODY
  }

  of(req: IncomingMessage): Client {
    const { socket } = req
    const known = this.#peers.get(socket)
    // A plain peer is who it is whatever it sends, as long as it does not claim to forward.
    if (known && known.plain && !forwards(req.rawHeaders)) return known.client
    const { headers } = req
    const xForwardedFor = one(headers['x-forwarded-for'])
    const forwarded = one(headers.forwarded)
    const header = xForwardedFor ?? forwarded
    if (known && known.header === header) return known.client
    const address = known?.address ?? this.peerOf(socket)
    const trusted = known?.trusted ?? this.isTrusted(address)
    const claims = !trusted && header !== undefined
    const own = trusted ? clientBehind(address, { xForwardedFor, forwarded }, this.isTrusted) : address
    const client = new Client(own, claims && this.isPrivate(address), !claims && this.isListed(own), this.#ids)
    this.#peers.set(socket, { address, trusted, plain: !trusted && !claims, header, client })
    return client
  }
}
