import type { Command } from './bus-messages.ts'
import type { Bus } from './bus.ts'

const WAIT_MS = 1_000

/** Asks the other instances to have a node rotate its key. */
export class Rotations {
  readonly #waiting = new Map<number, () => void>()
  #next = 1

  /** False when no instance has answered within a second. */
  askElsewhere(bus: Bus, instance: string, server: string): Promise<boolean> {
    const id = this.#next++
    return new Promise((resolve) => {
      const settle = (found: boolean): void => {
        clearTimeout(timer)
        this.#waiting.delete(id)
        resolve(found)
      }
      const timer = setTimeout(() => settle(false), WAIT_MS)
      this.#waiting.set(id, () => settle(true))
      const command: Command = { kind: 'rotate', server, from: instance, id }
      bus.tellAll(command)
    })
  }

  answered(id: number): void {
    this.#waiting.get(id)?.()
  }
}
