import { reopen } from './compare.ts'
import { carryOver, countersOf, settleReset } from './counting.ts'
import { confirm, refuse, setFinal } from './slots.ts'
import { advance, markBusy, warn } from './turn.ts'
import type { KernelOp, KernelResult, Slot, Turn } from './types.ts'

/** After a failed write the kernel is compared with what is wanted this much later, and what is missing tried again. */
const RETRY_MS = 5000

/** Takes the results of a batch: what is confirmed is told, what failed is told and left to the next comparison. */
export function takeResults(turn: Turn, batch: number, results: readonly KernelResult[]): void {
  const { state } = turn
  const ops = state.kernel.batches.get(batch)
  if (!ops) return
  state.kernel.batches.delete(batch)
  for (const op of ops) markBusy(state, op, -1)
  const failed = new Map<number, string>()
  ops.forEach((op, index) => {
    const result = results[index] ?? { ok: false, error: 'no result' }
    takeResult(turn, op, result)
    if (result.ok) return
    if (op.op !== 'purge') failed.set(op.slot, result.error ?? 'failed')
    state.kernel.compareAt = Math.min(state.kernel.compareAt, turn.now.mono + RETRY_MS)
    warn(turn, 'kernel_write_failed', `${op.op}: ${result.error ?? ''}`)
  })
  for (const op of ops) if (op.op !== 'purge') conclude(turn, op.slot, failed.get(op.slot))
  advance(turn)
}

function takeResult(turn: Turn, op: KernelOp, result: KernelResult): void {
  if (op.op === 'purge') {
    if (result.ok) placed(turn, op.public_key)
    return
  }
  const slot = turn.state.slots.get(op.slot)
  if (!slot) return
  if (op.op === 'remove' && result.ok) {
    removed(turn, slot, op.public_key, result)
    placed(turn, op.public_key)
  }
  if (op.op === 'set' && result.ok) wasSet(turn, slot, op, result)
  if (op.op === 'reset') wasReset(turn, slot, op.peer.public_key, result)
}

/** A stranger is gone or somebody's now; after the last of them the empty slots can be confirmed. */
function placed({ state, now }: Turn, publicKey: string): void {
  const { kernel } = state
  if (kernel.foreign.delete(publicKey) && kernel.foreign.size === 0) kernel.compareAt = now.mono
}

function wasSet(turn: Turn, slot: Slot, op: Extract<KernelOp, { op: 'set' }>, result: KernelResult): void {
  const { public_key } = op.peer
  slot.written = op.version
  if (op.fresh && slot.counting?.takeover && slot.peer?.public_key === public_key) {
    slot.counting.takeover = false
    turn.dirtySlots.add(slot.slot)
  }
  placed(turn, public_key)
  if (!result.last) return
  // A removal before it had failed; this write did it.
  for (const other of turn.state.slots.values()) {
    if (!other.leaving.some((leaving) => leaving.public_key === public_key)) continue
    removed(turn, other, public_key, result)
    return
  }
}

function removed(turn: Turn, slot: Slot, publicKey: string, result: KernelResult): void {
  const index = slot.leaving.findIndex(({ public_key }) => public_key === publicKey)
  const [gone] = index < 0 ? [] : slot.leaving.splice(index, 1)
  if (!gone) return
  if (result.last) settleReset(gone.counting, result.last)
  setFinal(turn, slot, countersOf(slot.slot, gone.counting, result.last ?? gone.counting.resetting))
  turn.dirtySlots.add(slot.slot)
}

function wasReset(turn: Turn, slot: Slot, publicKey: string, result: KernelResult): void {
  const leaving = slot.leaving.find(({ public_key }) => public_key === publicKey)
  const counting = slot.peer?.public_key === publicKey ? slot.counting : leaving?.counting
  if (counting?.resetting && result.ok) carryOver(turn, slot, counting, result.last ?? null)
  if (result.ok) return
  // Half done perhaps: the peer may be gone. The comparison looks, and resolves the begun reset.
  reopen(turn, slot)
  turn.state.kernel.compareAt = turn.now.mono
  if (slot.idleSince) slot.idleSince.mono += RETRY_MS
}

function conclude(turn: Turn, number: number, error: string | undefined): void {
  const { state } = turn
  const slot = state.slots.get(number)
  if (!slot || !state.unconfirmed.has(number)) return
  if (error !== undefined) return refuse(turn, slot, error)
  if (state.kernel.busySlots.has(number) || slot.leaving.length > 0) return
  if (slot.peer === null || slot.written === slot.version) confirm(turn, slot)
}
