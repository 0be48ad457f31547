import type { ServerMessage } from '../messages.ts'
import { canonicalPrefix } from '../addresses.ts'
import { askForSnapshot } from './resync.ts'
import { acknowledge, claimsOf, type Origin, refuse, settle, type Wish } from './slots.ts'
import { advance } from './turn.ts'
import type { AgentState, Turn } from './types.ts'

type Changes = Extract<ServerMessage, { type: 'changes' }>
type Snapshot = Extract<ServerMessage, { type: 'snapshot' }>

/** More removals than this and than a tenth of the peers held need a snapshot that says it is complete. */
const MANY_REMOVALS = 20

/** Takes a list of changes. Each slot is settled by its version; the revision moves only when nothing is missing. */
export function takeChanges(turn: Turn, message: Changes): void {
  const { state } = turn
  if (!state.complete || state.link.installation !== state.installation) return askForSnapshot(turn, 'no snapshot yet')
  const wishes = newest(state, message.changes)
  const { fits, conflicts } = sortOut(state, wishes.fresh)
  if (removesMany(state, fits)) return askForSnapshot(turn, 'too many removals')
  const revision = BigInt(message.revision)
  const contiguous = BigInt(message.since) <= state.told
  if (contiguous && conflicts.size === 0) trustServer(turn)
  apply(turn, fits, { revision, base: state.told })
  for (const wish of wishes.settled) tellAgain(turn, wish)
  for (const [wish, error] of conflicts) refuse(turn, wish, error)
  if (!contiguous) askForSnapshot(turn, 'changes are missing')
  else if (conflicts.size > 0) askForSnapshot(turn, 'conflicting changes')
  else if (revision > state.told) state.told = revision
  advance(turn)
  turn.acknowledge = true
}

/** Takes a whole list, if it says it is whole and is; what it does not name goes. */
export function takeSnapshot(turn: Turn, message: Snapshot): void {
  const { state } = turn
  if (!message.complete || message.count !== message.peers.length) return askForSnapshot(turn, 'incomplete snapshot')
  if (hasDuplicates(message)) return askForSnapshot(turn, 'contradictory snapshot')
  if (state.link.installation !== state.installation) enterInstallation(turn, state.link.installation)
  const revision = BigInt(message.revision)
  const base = state.complete ? state.told : 0n
  const empty = message.empty.map(({ slot, version }): Wish => ({ slot, version, peer: null }))
  const wishes = newest(state, [...message.peers, ...empty])
  const { fits, conflicts } = sortOut(state, [...wishes.fresh, ...unnamed(state, message, revision)])
  trustServer(turn)
  turn.compact = true
  apply(turn, fits, { revision, base })
  for (const wish of wishes.settled) if (wish.peer) tellAgain(turn, wish)
  for (const [wish, error] of conflicts) refuse(turn, wish, error)
  state.complete = true
  if (conflicts.size > 0) askForSnapshot(turn, 'conflicting snapshot')
  else {
    if (revision > state.told) state.told = revision
    state.link.snapshot = revision
  }
  advance(turn)
}

/** Held slots that a newer snapshot does not name: they were emptied meanwhile. */
function unnamed(state: AgentState, message: Snapshot, revision: bigint): Wish[] {
  const named = new Set([...message.peers, ...message.empty].map(({ slot }) => slot))
  const gone: Wish[] = []
  for (const slot of state.slots.values()) {
    if (slot.peer && !named.has(slot.slot) && revision > slot.at)
      gone.push({ slot: slot.slot, version: slot.version, peer: null })
  }
  return gone
}

/** Versions of another history mean nothing: keep the peers, forget how old they are. */
function enterInstallation(turn: Turn, installation: string | null): void {
  const { state } = turn
  for (const slot of state.slots.values()) {
    slot.version = -1
    slot.at = -1n
    slot.final = null
    for (const { counting } of slot.leaving) counting.version = -1
  }
  state.owed = []
  state.installation = installation
  state.complete = false
  state.told = 0n
  state.confirmed = 0n
}

/** The latest wish for each slot, apart by whether it is news. */
function newest(state: AgentState, wishes: readonly Wish[]): { fresh: Wish[]; settled: Wish[] } {
  const latest = new Map<number, Wish>()
  for (const wish of wishes) if (wish.version > (latest.get(wish.slot)?.version ?? -1)) latest.set(wish.slot, wish)
  const fresh: Wish[] = []
  const settled: Wish[] = []
  for (const wish of latest.values()) {
    if (wish.version > (state.slots.get(wish.slot)?.version ?? -1)) fresh.push(wish)
    else settled.push(wish)
  }
  return { fresh, settled }
}

/** Takes out the wishes for a key or an address that another slot keeps, and those with an address that is none. */
function sortOut(state: AgentState, wishes: readonly Wish[]): { fits: Wish[]; conflicts: Map<Wish, string> } {
  const conflicts = new Map<Wish, string>()
  const accepted = new Map<number, Wish>()
  for (const wish of wishes) {
    const canonical = canonicalWish(wish)
    if (canonical) accepted.set(wish.slot, canonical)
    else conflicts.set(wish, 'not an address')
  }
  // Refusing one may leave its slot with what another wants: look again until nothing changes.
  for (let before = -1; before !== conflicts.size;) {
    before = conflicts.size
    const taken = new Set<string>()
    for (const wish of accepted.values()) {
      const claims = wish.peer ? claimsOf(wish.peer) : []
      const free = claims.every((claim) => !taken.has(claim) && !keptByAnother(state, accepted, claim, wish.slot))
      if (free) for (const claim of claims) taken.add(claim)
      else {
        accepted.delete(wish.slot)
        conflicts.set(wish, 'key or address in use')
      }
    }
  }
  return { fits: [...accepted.values()], conflicts }
}

function canonicalWish(wish: Wish): Wish | null {
  if (!wish.peer) return wish
  const addresses: string[] = []
  for (const address of wish.peer.allowed_ips) {
    const canonical = canonicalPrefix(address)
    if (canonical === null) return null
    addresses.push(canonical)
  }
  return { slot: wish.slot, version: wish.version, peer: { ...wish.peer, allowed_ips: addresses } }
}

function keptByAnother(state: AgentState, accepted: ReadonlyMap<number, Wish>, claim: string, slot: number): boolean {
  const owner = state.claims.get(claim)
  if (owner === undefined || owner === slot) return false
  const next = accepted.get(owner)
  if (!next) return true
  return next.peer !== null && claimsOf(next.peer).includes(claim)
}

function removesMany(state: AgentState, wishes: readonly Wish[]): boolean {
  const staying = new Set(wishes.map(({ peer }) => peer?.public_key))
  const removed = wishes.filter(({ slot }) => {
    const key = state.slots.get(slot)?.peer?.public_key
    return key !== undefined && !staying.has(key)
  }).length
  if (removed <= MANY_REMOVALS) return false
  let held = 0
  for (const slot of state.slots.values()) if (slot.peer) held++
  return removed * 10 > held
}

function hasDuplicates({ peers, empty }: Snapshot): boolean {
  const slots = new Set([...peers, ...empty].map(({ slot }) => slot))
  if (slots.size !== peers.length + empty.length) return true
  const claims = new Set<string>()
  for (const { peer } of peers) {
    for (const claim of claimsOf(peer)) {
      const seen = claim.startsWith('a:') ? `a:${canonicalPrefix(claim.slice(2))}` : claim
      if (claims.has(seen)) return true
      claims.add(seen)
    }
  }
  return false
}

/** Emptied slots first, so that what they held is free for the others. */
function apply(turn: Turn, wishes: readonly Wish[], origin: Origin): void {
  for (const wish of wishes) if (!wish.peer) settle(turn, wish, origin)
  for (const wish of wishes) if (wish.peer) settle(turn, wish, origin)
}

/** Not news: say again what the kernel holds, or let the comparison see to it. */
function tellAgain(turn: Turn, wish: Wish): void {
  const { state } = turn
  const slot = state.slots.get(wish.slot)
  if (!slot) return
  if (!state.unconfirmed.has(slot.slot)) acknowledge(turn, slot)
  else if (!state.kernel.busySlots.has(slot.slot)) state.kernel.compareAt = turn.now.mono
}

/** From here on the desired state may be written. The first message of a link calls for a comparison. */
function trustServer(turn: Turn): void {
  const { state, now } = turn
  state.trust = 'server'
  if (!state.link.synced) state.kernel.compareAt = now.mono
  state.link.synced = true
  if (state.link.resync.wanted !== null) state.link.resync.wanted = null
}
