import type { AgentState, KernelOp } from '../agent.ts'
import { samePrefixes } from '../addresses.ts'
import type { NodeMessage } from '../messages.ts'
import type { DatabaseModel } from './database-model.ts'
import type { KernelModel } from './kernel-model.ts'

type Applied = Extract<NodeMessage, { type: 'applied' }>

/** Looks on while a schedule runs and complains about what must never be, not even for a moment. */
export class Watchdog {
  readonly #kernel: KernelModel
  readonly #database: DatabaseModel
  readonly #complain: (text: string) => void
  /** The version at which the agent said that nobody is in a slot. */
  readonly #emptied = new Map<number, number>()
  /** Slots whose peer somebody removed by hand: until the next reading the agent cannot know. */
  readonly meddled = new Set<number>()

  constructor(kernel: KernelModel, database: DatabaseModel, complain: (text: string) => void) {
    this.#kernel = kernel
    this.#database = database
    this.#complain = complain
  }

  /** The agent acknowledges: the kernel must be so at this moment. */
  agentSays(applied: Applied, state: AgentState | null): void {
    const sameLife = state?.kernel.interfaceId === this.#kernel.interfaceId
    for (const { slot, version, ok, held } of applied.slots) {
      if (!ok) continue
      const peer = this.#kernel.ofSlot(slot)
      if (!held) this.#emptied.set(slot, Math.max(version, this.#emptied.get(slot) ?? 0))
      if (!held && peer) this.#complain(`slot ${slot} is said to be empty at ${version} and is not`)
      if (held && sameLife && !peer && !this.meddled.has(slot))
        this.#complain(`slot ${slot} is said to be live at ${version} and is not`)
    }
  }

  beforeWrite(op: KernelOp, clockSteps: boolean, now: number): void {
    if (op.op !== 'set' && op.op !== 'reset') return
    const emptied = this.#emptied.get(op.slot) ?? -1
    if (op.version < emptied) this.#complain(`slot ${op.slot} comes back at ${op.version} after ${emptied}`)
    const shookAt = this.#kernel.peers.get(op.peer.public_key)?.shookAt
    if (op.op === 'reset' && !clockSteps && typeof shookAt === 'number' && now - shookAt < 180_000)
      this.#complain(`slot ${op.slot} is reset ${now - shookAt} ms after its handshake`)
  }

  /** An acknowledgement reaches the server: an emptied slot rests and may be given again. */
  serverHears(slot: number, version: number, held: boolean): void {
    const row = this.#database.row(slot)
    if (row.version !== version || row.peer || held) return
    row.rested = true
    if (this.#kernel.ofSlot(slot)) this.#complain(`slot ${slot} rests and is in the kernel`)
  }

  /** Everything below a horizon is confirmed. */
  serverKnows(revision: number): void {
    for (const row of this.#database.rows) {
      if (row.peer || row.version === 0 || row.revision >= revision) continue
      row.rested = true
      if (this.#kernel.ofSlot(row.slot)) this.#complain(`slot ${row.slot} is below ${revision} and in the kernel`)
    }
  }
}

/** What must hold when nothing happens any more. @returns what does not */
export function checkAtRest(kernel: KernelModel, database: DatabaseModel, now: number, when: string): string[] {
  return [...checkKernel(kernel, database), ...checkEndpoints(kernel, now), ...checkAccounts(database)].map(
    (text) => `${when}: ${text}`,
  )
}

function checkKernel(kernel: KernelModel, database: DatabaseModel): string[] {
  const wrong: string[] = []
  const held = database.held()
  for (const { slot, peer } of held) {
    const found = peer && kernel.peers.get(peer.public_key)
    if (!found) wrong.push(`slot ${slot} is missing`)
    else if (found.preshared_key !== peer.preshared_key) wrong.push(`slot ${slot} has another PSK`)
    else if (!samePrefixes(found.allowed_ips, peer.allowed_ips)) wrong.push(`slot ${slot} has other addresses`)
  }
  if (kernel.peers.size !== held.length) wrong.push(`${kernel.peers.size} peers instead of ${held.length}`)
  return wrong
}

function checkEndpoints(kernel: KernelModel, now: number): string[] {
  return [...kernel.peers.values()]
    .filter(({ shookAt }) => shookAt !== null && now - shookAt > 200_000)
    .map(({ slot }) => `slot ${slot} keeps its endpoint`)
}

function checkAccounts(database: DatabaseModel): string[] {
  const wrong: string[] = []
  for (const { slot, from, account, trueRx, trueTx, slackRx, slackTx } of database.connections) {
    const fits = account.rx <= trueRx && account.tx <= trueTx
    const whole = account.rx >= trueRx - slackRx && account.tx >= trueTx - slackTx
    if (!fits) wrong.push(`slot ${slot}/${from} counted ${account.rx}/${account.tx} of ${trueRx}/${trueTx}: too much`)
    if (!whole)
      wrong.push(`slot ${slot}/${from} counted ${account.rx}/${account.tx} of ${trueRx}/${trueTx}: too little`)
  }
  return wrong
}
