import { z } from 'zod'
import { Counters, NodeConfig, Peer, Revision } from '../messages.ts'
import type { AgentState, Counting, Slot } from './types.ts'

const Count = z.string().regex(/^-?\d{1,20}$/)
const SlotNumber = z.int().min(0).max(0xffff)
const StoredCounting = z.strictObject({
  version: z.int().min(-1),
  epoch: z.int().min(0),
  takeover: z.boolean(),
  rx: Count,
  tx: Count,
  handshake_at: z.int().min(0),
  resetting: z.strictObject({ rx: Count, tx: Count, handshake_at: z.int().min(0) }).nullable(),
})

const MetaEntry = z.strictObject({
  kind: z.literal('meta'),
  installation: z.uuid().nullable(),
  revision: Revision,
  complete: z.boolean(),
  interface_id: z.string().max(200).nullable(),
  last_epoch: z.int().min(0),
})
const ConfigEntry = z.strictObject({ kind: z.literal('config'), config: NodeConfig })
const SlotEntry = z.strictObject({
  kind: z.literal('slot'),
  slot: SlotNumber,
  /** -1: the slot was told by another installation, whose versions mean nothing any more. */
  version: z.int().min(-1),
  at: z.string().regex(/^-1$|^\d{1,20}$/),
  peer: Peer.nullable(),
  counting: StoredCounting.nullable(),
  leaving: z.array(
    z.strictObject({ public_key: z.string(), allowed_ips: z.array(z.string()), counting: StoredCounting }),
  ),
  final: Counters.nullable(),
})
const OwedEntry = z.strictObject({ kind: z.literal('owed'), counters: Counters })

/** One line of the agent's journal; a later line about the same thing replaces the earlier one. */
export const JournalEntry = z.discriminatedUnion('kind', [MetaEntry, ConfigEntry, SlotEntry, OwedEntry])
export type JournalEntry = z.infer<typeof JournalEntry>

/**
 * Reads a journal (one JSON entry a line). A torn or foreign line ends it: what came before is a state the agent was in.
 * @returns the entries in order; empty when there is nothing to read
 */
export function readJournal(text: string): JournalEntry[] {
  const entries: JournalEntry[] = []
  for (const line of text.split('\n')) {
    if (line === '') continue
    const entry = parseLine(line)
    if (!entry) break
    entries.push(entry)
  }
  return entries
}

function parseLine(line: string): JournalEntry | null {
  try {
    return JournalEntry.safeParse(JSON.parse(line)).data ?? null
  } catch {
    return null
  }
}

/** The first entries of a node that was just enrolled. */
export function firstEntries(installation: string, config: NodeConfig): JournalEntry[] {
  return [
    { kind: 'meta', installation, revision: '0', complete: false, interface_id: null, last_epoch: 0 },
    { kind: 'config', config },
  ]
}

export function metaEntry(state: AgentState): JournalEntry {
  return {
    kind: 'meta',
    installation: state.installation,
    revision: String(state.confirmed),
    complete: state.complete,
    interface_id: state.kernel.interfaceId,
    last_epoch: state.lastEpoch,
  }
}

export function slotEntry(slot: Slot): JournalEntry {
  return {
    kind: 'slot',
    slot: slot.slot,
    version: slot.version,
    at: String(slot.at),
    peer: slot.peer,
    counting: slot.counting && storeCounting(slot.counting),
    leaving: slot.leaving.map((leaving) => ({
      public_key: leaving.public_key,
      allowed_ips: [...leaving.allowed_ips],
      counting: storeCounting(leaving.counting),
    })),
    final: slot.final,
  }
}

/** The whole state as a fresh journal. */
export function allEntries(state: AgentState): JournalEntry[] {
  const entries: JournalEntry[] = [metaEntry(state)]
  if (state.config) entries.push({ kind: 'config', config: state.config })
  for (const slot of state.slots.values()) entries.push(slotEntry(slot))
  for (const { counters } of state.owed) entries.push({ kind: 'owed', counters })
  return entries
}

/** Puts what the journal says into a fresh state; every slot waits to be confirmed by the kernel again. */
export function restore(state: AgentState, entries: readonly JournalEntry[]): void {
  const owed = new Map<string, Counters>()
  for (const entry of entries) {
    if (entry.kind === 'meta') restoreMeta(state, entry)
    else if (entry.kind === 'config') state.config = entry.config
    else if (entry.kind === 'slot') state.slots.set(entry.slot, restoreSlot(entry))
    else owed.set(`${entry.counters.slot}/${entry.counters.version}/${entry.counters.epoch}`, entry.counters)
  }
  state.owed = [...owed.values()].map((counters) => ({ counters, sent: null }))
  for (const slot of state.slots.values()) {
    slot.base = state.confirmed
    state.unconfirmed.add(slot.slot)
    state.lastEpoch = Math.max(state.lastEpoch, slot.counting?.epoch ?? 0)
    if (!slot.peer) continue
    state.claims.set(`k:${slot.peer.public_key}`, slot.slot)
    for (const address of slot.peer.allowed_ips) state.claims.set(`a:${address}`, slot.slot)
  }
}

function restoreMeta(state: AgentState, meta: z.infer<typeof MetaEntry>): void {
  state.installation = meta.installation
  state.confirmed = BigInt(meta.revision)
  state.told = state.confirmed
  state.complete = meta.complete
  state.kernel.interfaceId = meta.interface_id
  state.lastEpoch = meta.last_epoch
}

function restoreSlot(entry: z.infer<typeof SlotEntry>): Slot {
  return {
    slot: entry.slot,
    version: entry.version,
    peer: entry.peer,
    at: BigInt(entry.at),
    counting: entry.counting && restoreCounting(entry.counting),
    leaving: entry.leaving.map((leaving) => ({ ...leaving, counting: restoreCounting(leaving.counting) })),
    final: entry.final,
    base: 0n,
    idleSince: null,
    written: null,
    sent: null,
  }
}

function storeCounting(counting: Counting): z.infer<typeof StoredCounting> {
  const { version, epoch, takeover, offset, handshake_at, resetting } = counting
  return {
    version,
    epoch,
    takeover,
    rx: String(offset.rx),
    tx: String(offset.tx),
    handshake_at,
    resetting: resetting && { ...resetting, rx: String(resetting.rx), tx: String(resetting.tx) },
  }
}

function restoreCounting(stored: z.infer<typeof StoredCounting>): Counting {
  const { resetting } = stored
  return {
    version: stored.version,
    epoch: stored.epoch,
    takeover: stored.takeover,
    offset: { rx: BigInt(stored.rx), tx: BigInt(stored.tx) },
    handshake_at: stored.handshake_at,
    raw: null,
    resetting: resetting && { ...resetting, rx: BigInt(resetting.rx), tx: BigInt(resetting.tx) },
  }
}
