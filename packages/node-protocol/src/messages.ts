import { z } from 'zod'
import { canonicalAddress } from './addresses.ts'

/** The version of the link spoken here. A peer that offers no common version is told so and closed. */
export const PROTOCOL_VERSION = 1

/** One message may be this large (a snapshot of about 60,000 peers). */
export const MAX_MESSAGE_BYTES = 32 * 1024 * 1024

const key = z.string().regex(/^[A-Za-z0-9+/]{43}=$/)
const address = z.string().regex(/^[0-9a-fA-F.:]{2,45}\/\d{1,3}$/)
/** A point in the server's history of changes, as a decimal: everything before it has been told. Compare as BigInt. */
export const Revision = z.string().regex(/^\d{1,20}$/)
/** A 64-bit count as a decimal string, so that JSON never rounds it. */
const Count = z.string().regex(/^\d{1,20}$/)
const slot = z.int().min(0).max(0xffff)
/** Counts the changes of one slot; a message with a smaller version than the one held is stale. */
const version = z.int().min(0)

/** What a node needs to know of a customer's tunnel: no name, no mail, no plan. */
export const Peer = z.strictObject({
  public_key: key,
  preshared_key: key,
  allowed_ips: z.array(address).min(1).max(4),
})
export type Peer = z.infer<typeof Peer>

/** The wanted content of one address slot: a peer, or nobody. */
export const SlotChange = z.strictObject({ slot, version, peer: Peer.nullable() })
export type SlotChange = z.infer<typeof SlotChange>

/** How the interface itself is set; peers are not part of it. */
export const NodeConfig = z.strictObject({
  /** The node's own addresses inside the tunnel with the length of the pool, e.g. `10.77.4.1/22`. */
  addresses: z.array(address).min(1).max(2),
  listen_port: z.int().min(1).max(65535),
  mtu: z.int().min(1280).max(9000),
  /** Addresses customers may ask for names at, although they lie in ranges that are closed to them. */
  dns: z.array(z.string().max(45)).max(4),
  /** Addresses in closed ranges that stay reachable, e.g. the public API's. */
  open: z.array(z.string().max(45)).max(16),
})
export type NodeConfig = z.infer<typeof NodeConfig>

/** A peer's counters since `epoch` (ms since 1970 when the kernel began to count): cumulative, never reset by reading. */
export const Counters = z.strictObject({
  slot,
  version,
  epoch: z.int().min(0),
  /** Bytes the node received from the customer. */
  rx: Count,
  /** Bytes the node sent to the customer. */
  tx: Count,
  /** Seconds since 1970 of the last handshake, 0 = never. */
  handshake_at: z.int().min(0),
})
export type Counters = z.infer<typeof Counters>

/** What the kernel really holds after a change. `final` carries the last counters of a removed peer. */
export const SlotApplied = z.strictObject({
  slot,
  version,
  ok: z.boolean(),
  /** True when the kernel now holds a peer for this slot; false when it holds none or the change failed. */
  held: z.boolean(),
  error: z.string().max(200).optional(),
  final: Counters.optional(),
})
export type SlotApplied = z.infer<typeof SlotApplied>

const Challenge = z.strictObject({
  type: z.literal('challenge'),
  nonce: z.string().min(22).max(64),
  /** The history the proof is bound to; after a restore it is another one than at enrolment. */
  installation: z.uuid(),
  versions: z.array(z.int()).min(1).max(8),
})
const Welcome = z.strictObject({
  type: z.literal('welcome'),
  /** Names this control plane's history; a revision of another installation means nothing here. */
  installation: z.uuid(),
  config: NodeConfig,
})
/**
 * Everything that should exist. Only a message with `complete: true` and the right `count` may empty a node.
 * `empty` names the slots that nobody holds now, with their versions, so that a removal is settled by version here
 * too; a held slot in neither list goes when the snapshot is newer than the message that brought it.
 */
const Snapshot = z.strictObject({
  type: z.literal('snapshot'),
  revision: Revision,
  complete: z.boolean(),
  count: z.int().min(0),
  peers: z.array(z.strictObject({ slot, version, peer: Peer })),
  empty: z.array(z.strictObject({ slot, version })),
})
/**
 * What changed between two horizons. The node moves its revision only when `since` is not past the one it stands at;
 * otherwise something is missing and it asks for a snapshot. An empty list after the welcome says 'you are current'.
 */
const Changes = z.strictObject({
  type: z.literal('changes'),
  since: Revision,
  revision: Revision,
  changes: z.array(SlotChange).max(65536),
})
const ConfigChange = z.strictObject({ type: z.literal('config'), config: NodeConfig })
/** The slots somebody looks at now; replaces the list before it. The others are reported every 15 s. */
const Watch = z.strictObject({ type: z.literal('watch'), slots: z.array(slot).max(65536) })
/** The node is no longer wanted (removed or replaced): keep tunnels, stop dialling, exit code 3. */
const Dismissed = z.strictObject({ type: z.literal('dismissed'), reason: z.string().max(200) })
/** Generate a new WireGuard key and tell its public half. */
const RotateKey = z.strictObject({ type: z.literal('rotate_key') })
/** Reports of this link up to `seq` are stored durably; the node need not repeat them. */
const Counted = z.strictObject({ type: z.literal('counted'), seq: z.int().min(0) })

export const ServerMessage = z.discriminatedUnion('type', [
  Challenge,
  Welcome,
  Snapshot,
  Changes,
  ConfigChange,
  Watch,
  Dismissed,
  RotateKey,
  Counted,
])
export type ServerMessage = z.infer<typeof ServerMessage>

const Auth = z.strictObject({
  type: z.literal('auth'),
  version: z.int(),
  node_id: z.uuid(),
  /** Ed25519 over `linkProof(...)` by the identity key made at enrolment; base64. */
  signature: z.string().max(100),
  /** Where the node stands; null asks for a snapshot. */
  resume: z.strictObject({ installation: z.uuid(), revision: Revision }).nullable(),
  agent: z.strictObject({ version: z.string().max(40), backend: z.enum(['kernel', 'userspace']), public_key: key }),
})
const Applied = z.strictObject({
  type: z.literal('applied'),
  /** Every change told below this horizon is confirmed by the kernel. */
  revision: Revision,
  /** True when this is the last acknowledgement of a snapshot: the kernel holds all of it and nothing else. */
  complete: z.boolean(),
  slots: z.array(SlotApplied).max(65536),
})
const Report = z.strictObject({
  type: z.literal('report'),
  /** Counts the reports of this link from 1; answered by `counted`. */
  seq: z.int().min(1),
  /** Milliseconds since 1970 at the node when the counters were read. */
  at: z.int().min(0),
  peers: z.array(Counters).max(65536),
})
/** The node refuses or cannot follow what it was sent and asks for a snapshot. */
const Resync = z.strictObject({ type: z.literal('resync'), reason: z.string().max(200) })
const Health = z.strictObject({
  type: z.literal('health'),
  load1: z.number().min(0),
  cores: z.int().min(1),
  peers: z.int().min(0),
  /** Share of the connection-tracking table in use, 0..1, null = unknown. */
  conntrack: z.number().min(0).max(1).nullable(),
  /** What `prime-node doctor` would complain about, as short codes. */
  warnings: z.array(z.string().max(100)).max(32),
})
const NewKey = z.strictObject({ type: z.literal('new_key'), public_key: key })
/** The node says of itself at most so many. */
export const MAX_EXITS = 8
/**
 * Where customers' traffic leaves this machine, as others see it: the addresses of its uplinks. Replaces the list before
 * it. A message of its own, not a field: a control plane that does not know it drops it and keeps the link.
 */
const Exits = z.strictObject({
  type: z.literal('exits'),
  addresses: z.array(z.string().refine((text) => canonicalAddress(text) === text)).max(MAX_EXITS),
})

export const NodeMessage = z.discriminatedUnion('type', [Auth, Applied, Report, Resync, Health, NewKey, Exits])
export type NodeMessage = z.infer<typeof NodeMessage>

/** What `POST /node/enroll` takes and answers. */
export const EnrollRequest = z.strictObject({
  token: z.string().min(16).max(200),
  /** The node's WireGuard public key; its private half never leaves the machine. */
  public_key: key,
  /** Ed25519 public key (raw 32 bytes, base64) that proves the node on every link. */
  identity_key: key,
  agent_version: z.string().max(40),
  backend: z.enum(['kernel', 'userspace']),
  /** `host:port` when the operator named one on the command line. */
  endpoint: z.string().max(260).optional(),
  listen_port: z.int().min(1).max(65535).optional(),
})
export type EnrollRequest = z.infer<typeof EnrollRequest>

export const EnrollAnswer = z.strictObject({
  node_id: z.uuid(),
  server_id: z.uuid(),
  installation: z.uuid(),
  hostname: z.string(),
  config: NodeConfig,
})
export type EnrollAnswer = z.infer<typeof EnrollAnswer>

/** The bytes a node signs to open a link: bound to this purpose, version, installation, challenge and node. */
export function linkProof(installation: string, nonce: string, nodeId: string): Uint8Array {
  return new TextEncoder().encode(`prime-node-link\n${PROTOCOL_VERSION}\n${installation}\n${nonce}\n${nodeId}`)
}
