import { createHash } from 'node:crypto'
import { formatAddress, formatCidr, networkOf, parseAddress, parseCidr } from '@prime-vpn/wireguard'
import type { PortRange } from './ports.ts'

/** All that decides the node's rules; the text follows from it alone. */
export type RulesetWish = {
  interface: string
  /** The node's own addresses with the length of the pool, e.g. `10.77.4.1/22`. */
  addresses: readonly string[]
  listenPort: number
  /** Resolvers customers may ask although their addresses are closed (or are the node's own). */
  dns: readonly string[]
  /** Addresses in closed ranges that stay reachable. */
  open: readonly string[]
  /** Ports of the node's own services; no packet of a customer may carry one as its source. */
  servicePorts: readonly number[]
  /** Where source NAT takes its ports from; holds none of `servicePorts`. */
  natPorts: PortRange
  /** Tracked flows one customer may hold at a time. */
  flowsPerPeer: number
}

/** Never reached through a tunnel: the RFC 6890 registry of private, local, shared, mapped and group addresses. */
export const CLOSED = {
  4: [
    '0.0.0.0/8',
    '10.0.0.0/8',
    '100.64.0.0/10',
    '127.0.0.0/8',
    '169.254.0.0/16',
    '172.16.0.0/12',
    '192.0.0.0/24',
    '192.168.0.0/16',
    '224.0.0.0/3',
  ],
  6: [
    '::/96', // unspecified, loopback and the old IPv4-compatible form
    '::ffff:0:0/96',
    '64:ff9b::/96',
    '64:ff9b:1::/48',
    '2002::/16', // 6to4 carries any IPv4 address, private ones too
    'fc00::/7',
    'fe80::/10',
    'fec0::/10',
    'ff00::/8',
  ],
} as const

/** Named counters of the table, in the order `doctor` shows them, with what each one means. */
export const COUNTERS = {
  peer_to_peer: 'from one customer to another',
  closed_range: 'to private, local or metadata addresses',
  local_service: "to the node's own services",
  port_shadow: 'carrying a port of the node as source',
  spoofed: 'with a source outside the pool',
  off_path: 'for or from the pool on a foreign interface',
  unasked: 'towards a customer who did not ask',
  smtp: 'to port 25',
  too_many_flows: 'beyond the flows one customer may hold',
  other_protocol: 'of a protocol that cannot be translated safely',
  invalid: 'without a valid tracked state',
  not_translated: 'that would have left with a tunnel address',
} as const

/** The name of the node's tables; one per interface, nobody else writes to them. */
export const tableName = (interfaceName: string): string => `prime_${interfaceName}`

/** An empty chain of this name marks the text a table was made from: the kernel remembers it for us. */
export const markOf = (text: string): string => `text_${createHash('sha256').update(text).digest('hex').slice(0, 24)}`

/**
 * The whole ruleset as a batch for `nft -f`: replaces the tables of this interface in one transaction and touches no
 * other. Every value is parsed and written again, so nothing but numbers and addresses can reach the text.
 * @param arp also close ARP for the pool (kernels without that family refuse the batch)
 * @throws {InvalidValue} an address that is none
 */
export function ruleset(w: RulesetWish, { arp = true } = {}): string {
  const table = tableName(w.interface)
  const body = `${sets(w)}${prerouting(w)}${input(w)}${forward(w)}${nat(w)}`
  const arpTable = arp ? arpRules(w) : ''
  const mark = markOf(`${body}${arpTable}`)
  const inet = replace('inet', table, `${counters()}${body}\n  chain ${mark} {\n  }\n`)
  return `${inet}${arpTable && replace('arp', table, arpTable)}`
}

// "table x" before "delete table x" makes the deletion hold when there is none yet.
const replace = (family: string, table: string, body: string): string =>
  `table ${family} ${table}\ndelete table ${family} ${table}\ntable ${family} ${table} {\n${body}}\n`

const counters = (): string =>
  Object.keys(COUNTERS)
    .map((name) => `  counter ${name} {\n  }\n`)
    .join('')

function sets(w: RulesetWish): string {
  const own = w.addresses.map((a) => formatCidr(networkOf(parseCidr(a))))
  const byFamily = (list: readonly string[], family: 4 | 6): string[] =>
    list.map((a) => parseAddress(a)).flatMap((a) => (a.family === family ? [formatAddress(a.family, a.value)] : []))
  return ([4, 6] as const)
    .map((family) => {
      const type = family === 4 ? 'ipv4_addr' : 'ipv6_addr'
      const pools = own.filter((c) => c.includes(':') === (family === 6))
      return (
        addressSet(`pool${family}`, type, pools) +
        addressSet(`closed${family}`, type, CLOSED[family]) +
        addressSet(`open${family}`, type, byFamily(w.open, family)) +
        addressSet(`dns${family}`, type, byFamily(w.dns, family)) +
        `  set flows${family} {\n    type ${type}\n    size 65536\n    flags dynamic\n  }\n`
      )
    })
    .join('')
}

function addressSet(name: string, type: string, elements: readonly string[]): string {
  const unique = [...new Set(elements)]
  const list = unique.length > 0 ? `    elements = { ${unique.join(', ')} }\n` : ''
  return `  set ${name} {\n    type ${type}\n    flags interval\n    auto-merge\n${list}  }\n`
}

/** Before tracking: spoofed and off-path packets leave no trace, and the node's own tunnel traffic is not tracked. */
const prerouting = (w: RulesetWish): string => `
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    iifname "${w.interface}" goto arrived
    iifname "lo" accept
    ip daddr @pool4 counter name off_path drop
    ip6 daddr @pool6 counter name off_path drop
    ip saddr @pool4 counter name off_path drop
    ip6 saddr @pool6 counter name off_path drop
    udp dport ${port(w.listenPort)} fib daddr type local notrack
  }
  chain arrived {
    ip saddr != @pool4 counter name spoofed drop
    ip6 saddr != @pool6 counter name spoofed drop
    fib saddr type local counter name spoofed drop
  }
  chain output {
    type filter hook output priority raw; policy accept;
    udp sport ${port(w.listenPort)} oifname != { "lo", "${w.interface}" } notrack
    oifname { "lo", "${w.interface}" } accept
    ip daddr @pool4 counter name off_path drop
    ip6 daddr @pool6 counter name off_path drop
  }
`

const input = (w: RulesetWish): string => `
  chain input {
    type filter hook input priority filter; policy accept;
    iifname "${w.interface}" goto local
  }
  chain local {
    ct state invalid counter name invalid drop
    ip daddr @dns4 meta l4proto { tcp, udp } th dport 53 accept
    ip6 daddr @dns6 meta l4proto { tcp, udp } th dport 53 accept
    ip daddr @open4 tcp dport { 80, 443 } accept
    ip6 daddr @open6 tcp dport { 80, 443 } accept
    ip daddr @pool4 icmp type echo-request limit rate 50/second accept
    ip6 daddr @pool6 icmpv6 type echo-request limit rate 50/second accept
    counter name local_service drop
  }
`

const forward = (w: RulesetWish): string => `
  chain clamp {
    type filter hook forward priority mangle; policy accept;
    iifname "${w.interface}" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
    oifname "${w.interface}" tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "${w.interface}" goto from_tunnel
    oifname "${w.interface}" goto to_tunnel
    ip saddr @pool4 counter name off_path drop
    ip6 saddr @pool6 counter name off_path drop
    ip daddr @pool4 counter name off_path drop
    ip6 daddr @pool6 counter name off_path drop
  }
  chain from_tunnel {
    oifname "${w.interface}" counter name peer_to_peer drop
    ct state { invalid, untracked } counter name invalid drop
    ip daddr @pool4 counter name peer_to_peer drop
    ip6 daddr @pool6 counter name peer_to_peer drop
    ip daddr @closed4 jump closed_range
    ip6 daddr @closed6 jump closed_range
    meta l4proto { tcp, udp } th sport { ${ports(w)} } counter name port_shadow drop
    ct state established accept
    ct state related meta l4proto { icmp, ipv6-icmp } accept
    tcp dport 25 counter name smtp reject with tcp reset
    add @flows4 { ip saddr ct count over ${count(w.flowsPerPeer)} } counter name too_many_flows drop
    add @flows6 { ip6 saddr ct count over ${count(w.flowsPerPeer)} } counter name too_many_flows drop
    meta l4proto { tcp, udp } accept
    icmp type echo-request accept
    icmpv6 type echo-request accept
    counter name other_protocol drop
  }
  chain closed_range {
    ip daddr @open4 tcp dport { 80, 443 } return
    ip6 daddr @open6 tcp dport { 80, 443 } return
    ip daddr @dns4 meta l4proto { tcp, udp } th dport { 53, 853 } return
    ip6 daddr @dns6 meta l4proto { tcp, udp } th dport { 53, 853 } return
    counter name closed_range drop
  }
  chain to_tunnel {
    ct direction reply ct state established accept
    ct state related meta l4proto { icmp, ipv6-icmp } accept
    counter name unasked drop
  }
`

const nat = (w: RulesetWish): string => `
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname { "lo", "${w.interface}" } accept
    ip saddr @pool4 meta l4proto { tcp, udp } masquerade to :${range(w.natPorts)} fully-random
    ip6 saddr @pool6 meta l4proto { tcp, udp } masquerade to :${range(w.natPorts)} fully-random
    ip saddr @pool4 masquerade
    ip6 saddr @pool6 masquerade
  }
  chain leaving {
    type filter hook postrouting priority srcnat + 50; policy accept;
    oifname { "lo", "${w.interface}" } accept
    ip saddr @pool4 counter name not_translated drop
    ip6 saddr @pool6 counter name not_translated drop
  }
`

/** ARP for the pool stays unanswered on every interface: a neighbour cannot find out whether a tunnel address is used. */
function arpRules(w: RulesetWish): string {
  const pools = w.addresses.filter((a) => !a.includes(':')).map((a) => formatCidr(networkOf(parseCidr(a))))
  if (pools.length === 0) return ''
  const rules = pools.map((p) => `    arp daddr ip ${p} drop\n    arp saddr ip ${p} drop\n`).join('')
  return `  chain input {\n    type filter hook input priority filter; policy accept;\n${rules}  }\n`
}

const ports = (w: RulesetWish): string =>
  [...new Set([w.listenPort, ...w.servicePorts])]
    .toSorted((a, b) => a - b)
    .map(port)
    .join(', ')

const range = (r: PortRange): string => `${port(r.from)}-${port(r.to)}`

function port(value: number): string {
  if (!Number.isInteger(value) || value < 1 || value > 65_535) throw new RangeError('not a port')
  return String(value)
}

function count(value: number): string {
  if (!Number.isInteger(value) || value < 1) throw new RangeError('not a count')
  return String(value)
}
