import { samePrefixes } from '../addresses.ts'
import type { Peer } from '../messages.ts'
import { countersOf, restartCounting, takeOver } from './counting.ts'
import { confirm, mayWrite, setFinal } from './slots.ts'
import { advance, queueOp, warn } from './turn.ts'
import type { KernelPeer, Slot, Turn } from './types.ts'

/** A full comparison of kernel and desired state runs at least this often. */
export const COMPARE_EVERY_MS = 60_000
/** Without a word from the server, more strangers than this and than a tenth of the peers are left alone. */
const MANY_STRANGERS = 20

/** Compares the kernel with what is wanted and asks for what is missing, different or too much. Slots in flight wait. */
export function compare(turn: Turn, dump: ReadonlyMap<string, KernelPeer>): void {
  const { state, now } = turn
  state.kernel.compareAt = now.mono + COMPARE_EVERY_MS
  const resting = [...state.slots.values()].filter(({ slot }) => !state.kernel.busySlots.has(slot))
  for (const slot of resting) letGo(turn, slot, dump)
  for (const slot of resting) if (slot.peer) compareSlot(turn, slot, slot.peer, dump.get(slot.peer.public_key))
  purgeStrangers(turn, dump.size)
  for (const slot of resting) if (!slot.peer) confirmEmpty(turn, slot)
  advance(turn)
}

/** A slot whose content the kernel does not hold (any more) is open again. */
export function reopen(turn: Turn, slot: Slot): void {
  slot.written = null
  if (turn.state.unconfirmed.has(slot.slot)) return
  slot.base = turn.state.told
  turn.state.unconfirmed.add(slot.slot)
}

function compareSlot(turn: Turn, slot: Slot, wanted: Peer, peer: KernelPeer | undefined): void {
  const { unconfirmed, kernel } = turn.state
  const leaving = kernel.busyKeys.has(wanted.public_key)
  const { counting } = slot
  // Only the same address makes it likely that a stranger is the same tunnel.
  const stranger = counting?.takeover && peer && !samePrefixes(peer.allowed_ips, wanted.allowed_ips)
  if (counting?.takeover && peer && !stranger) takeOver(turn, slot.slot, counting, peer)
  if (peer && !leaving && !stranger && isAsWanted(peer, wanted)) {
    slot.written = slot.version
    kernel.foreign.delete(wanted.public_key)
    if (unconfirmed.has(slot.slot)) confirm(turn, slot)
    return
  }
  if (!mayWrite(turn.state)) return
  if (!peer) restartCounting(turn, slot)
  reopen(turn, slot)
  const fresh = !peer || leaving || stranger === true
  queueOp(turn, { op: 'set', slot: slot.slot, version: slot.version, peer: wanted, fresh })
}

function isAsWanted(peer: KernelPeer, wanted: Peer): boolean {
  return peer.preshared_key === wanted.preshared_key && samePrefixes(peer.allowed_ips, wanted.allowed_ips)
}

/** Removes what should have left. A key that the kernel holds with another slot's addresses has left this one. */
function letGo(turn: Turn, slot: Slot, dump: ReadonlyMap<string, KernelPeer>): void {
  for (const leaving of slot.leaving.slice()) {
    const { public_key, allowed_ips } = leaving
    const peer = dump.get(public_key)
    if (!peer || (!samePrefixes(peer.allowed_ips, allowed_ips) && isElsewhere(turn, public_key, slot))) {
      slot.leaving.splice(slot.leaving.indexOf(leaving), 1)
      setFinal(turn, slot, countersOf(slot.slot, leaving.counting, leaving.counting.resetting))
      turn.dirtySlots.add(slot.slot)
    } else if (mayWrite(turn.state)) {
      queueOp(turn, { op: 'remove', slot: slot.slot, version: slot.version, public_key, allowed_ips })
    }
  }
}

function isElsewhere({ state }: Turn, publicKey: string, here: Slot): boolean {
  const owner = state.claims.get(`k:${publicKey}`)
  if (owner !== undefined && owner !== here.slot) return true
  for (const slot of state.slots.values()) {
    if (slot !== here && slot.leaving.some(({ public_key }) => public_key === publicKey)) return true
  }
  return false
}

/** Removes the peers nobody wants, if the desired state is known to be whole. */
function purgeStrangers(turn: Turn, held: number): void {
  const { state } = turn
  const strangers = [...state.kernel.foreign.values()].filter(
    ({ public_key }) => !state.kernel.busyKeys.has(public_key) && !state.claims.has(`k:${public_key}`),
  )
  if (strangers.length === 0 || !state.complete || !mayWrite(state)) return
  const many = strangers.length > MANY_STRANGERS && strangers.length * 10 > held
  if (many && state.trust !== 'server') {
    warn(turn, 'strangers_left', `${strangers.length} unknown peers stay until the server is reached`)
    return
  }
  for (const { public_key, allowed_ips } of strangers) queueOp(turn, { op: 'purge', public_key, allowed_ips })
}

function confirmEmpty(turn: Turn, slot: Slot): void {
  const { unconfirmed, kernel } = turn.state
  if (!unconfirmed.has(slot.slot) || slot.leaving.length > 0 || kernel.foreign.size > 0) return
  if (!kernel.busySlots.has(slot.slot)) confirm(turn, slot)
}
