import type { Health } from '../fleet/index.ts'
import { printable } from '../platform/log.ts'
import type { NodeLink } from './link.ts'

/** What a node says of itself. */
export type ToldHealth = {
  load1: number
  cores: number
  peers: number
  conntrack: number | null
  warnings: readonly string[]
}

const WARNING_CHARS = 100
const MAX_LOAD = 1_000_000
const MAX_CORES = 4_096

/** A node's word made fit to be stored and shown: bounded numbers, warnings without control characters. */
export function soundHealth(told: ToldHealth): Pick<Health, 'load1' | 'cores' | 'conntrack' | 'warnings'> {
  return {
    load1: Math.min(told.load1, MAX_LOAD),
    cores: Math.min(told.cores, MAX_CORES),
    conntrack: told.conntrack,
    warnings: [...new Set(told.warnings.map((warning) => printable(warning, WARNING_CHARS).slice(0, WARNING_CHARS)))],
  }
}

/** Collects signs of life, the latest of each node. */
export class Heartbeats {
  readonly #beats = new Map<string, Health>()

  note(link: NodeLink, health: Omit<Health, 'nodeId' | 'linkId'>): void {
    const { node } = link
    if (!node || !link.linked) return
    this.#beats.set(node.nodeId, { ...this.#beats.get(node.nodeId), ...health, nodeId: node.nodeId, linkId: link.id })
  }

  /** What was noted since the last call. */
  take(): Health[] {
    const beats = [...this.#beats.values()]
    this.#beats.clear()
    return beats
  }
}
