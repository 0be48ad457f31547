import { Unavailable } from '../platform/errors.ts'

const MAPPED = /^::ffff:(?=\d+\.)/i

const groupsOf = (part: string): string[] => part.split(':').filter(Boolean)

/** A /64 is one caller, as an IPv4 address is; a long run of zeros may be cut out of the text anywhere. */
function callerOf(address: string): string {
  const text = address.replace(MAPPED, '')
  if (!text.includes(':')) return text
  const [before = '', after = ''] = text.split('::')
  const [head, tail] = [groupsOf(before), groupsOf(after)]
  const zeros = Array<string>(Math.max(0, 8 - head.length - tail.length)).fill('0')
  return [...head, ...zeros, ...tail].slice(0, 4).join(':')
}

/** Bounds the sockets that have not proved who they are: in all, and of one address. */
export class Gate {
  readonly #max: number
  readonly #maxPerCaller: number
  readonly #callers = new Map<string, number>()
  #inside = 0

  constructor(max: number, maxPerCaller: number) {
    this.#max = max
    this.#maxPerCaller = maxPerCaller
  }

  /**
   * Lets one more in.
   * @returns to be called once it has proved itself or gone; calling it again does nothing
   * @throws {Unavailable}
   */
  enter(address: string): () => void {
    const caller = callerOf(address)
    const own = this.#callers.get(caller) ?? 0
    if (this.#inside >= this.#max || own >= this.#maxPerCaller)
      throw new Unavailable('Too many links are being opened.')
    this.#inside++
    this.#callers.set(caller, own + 1)
    let left = false
    return () => {
      if (left) return
      left = true
      this.#inside--
      const rest = (this.#callers.get(caller) ?? 1) - 1
      if (rest > 0) this.#callers.set(caller, rest)
      else this.#callers.delete(caller)
    }
  }
}
