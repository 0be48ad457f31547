import type { Sql } from '../platform/db/index.ts'
import { MetricsText, type TunnelStatus } from './frames.ts'
import { fatesOf, shownTunnels, type ShownTunnel } from './live-store.ts'
import type { LiveBoard, Watched } from './live.ts'

/** A tunnel as the sockets of its user see it. */
export type SeenTunnel = ShownTunnel & { watched: Watched | undefined; text: MetricsText }

export type StatusChange = { connectionId: string; status: TunnelStatus; reason: string | null }

/** A user with at least one socket here. */
export type Listener = {
  userId: string
  /** The tunnels shown now; undefined until they were read once. */
  tunnels: SeenTunnel[] | undefined
  changed(change: StatusChange): void
}

/** Watched for longer than two looks are apart. */
const WATCH_MS = 30_000

/** Keeps what each listening user's tunnels are: read when told, and every few seconds in case the word was lost. */
export class Audience {
  readonly #listeners = new Map<string, Listener>()
  readonly #db: Sql
  readonly #board: LiveBoard
  readonly #asked = new Set<string>()
  #next: Promise<void> | undefined
  #reading: Promise<void> = Promise.resolve()

  constructor(db: Sql, board: LiveBoard) {
    this.#db = db
    this.#board = board
  }

  add(listener: Listener): void {
    this.#listeners.set(listener.userId, listener)
  }

  delete(userId: string): void {
    this.#listeners.delete(userId)
  }

  has(userId: string): boolean {
    return this.#listeners.has(userId)
  }

  /**
   * Reads the tunnels of these users, or of all, and tells what changed. One read at a time, so that none is older than
   * another; those who ask meanwhile share the next.
   */
  refresh(users: Iterable<string> = this.#listeners.keys()): Promise<void> {
    for (const user of users) this.#asked.add(user)
    this.#next ??= this.#reading
      .catch(() => undefined)
      .then(() => {
        const asked = [...this.#asked]
        this.#asked.clear()
        this.#next = undefined
        return this.#read(asked)
      })
    this.#reading = this.#next
    return this.#next
  }

  async #read(users: readonly string[]): Promise<void> {
    const listening = users.filter((user) => this.#listeners.has(user))
    if (listening.length === 0) return
    const tunnels = await shownTunnels(this.#db, listening)
    const watched = await this.#board.watch(tunnels, WATCH_MS)
    const byUser = new Map<string, SeenTunnel[]>(listening.map((user) => [user, []]))
    tunnels.forEach((tunnel, i) => byUser.get(tunnel.userId)?.push(this.#seen(tunnel, watched[i])))
    const before = new Map(listening.map((user) => [user, this.#listeners.get(user)?.tunnels]))
    const lost = [...before.values()].flatMap((seen) => seen ?? []).filter((was) => isGone(was, byUser))
    const fates = lost.length > 0 ? await fatesOf(this.#db, lost.map((was) => was.connectionId)) : [] // prettier-ignore
    const fateOf = new Map(fates.map((fate) => [fate.id, fate]))
    for (const user of listening) {
      const listener = this.#listeners.get(user)
      if (!listener) continue
      const first = listener.tunnels === undefined
      listener.tunnels = byUser.get(user) ?? []
      if (!first) tell(listener, before.get(user) ?? [], fateOf)
    }
  }

  #seen(tunnel: ShownTunnel, watched: Watched | undefined): SeenTunnel {
    const known = this.#listeners.get(tunnel.userId)?.tunnels?.find((was) => was.connectionId === tunnel.connectionId)
    return { ...tunnel, watched, text: known?.text ?? new MetricsText(tunnel.connectionId) }
  }
}

const isGone = (was: SeenTunnel, byUser: ReadonlyMap<string, readonly SeenTunnel[]>): boolean =>
  !byUser.get(was.userId)?.some((is) => is.connectionId === was.connectionId)

type Fate = { id: string; moved: boolean; reason: string | null }

function tell(listener: Listener, before: readonly SeenTunnel[], fateOf: ReadonlyMap<string, Fate>): void {
  const now = listener.tunnels ?? []
  for (const { connectionId } of before) {
    if (now.some((is) => is.connectionId === connectionId)) continue
    const fate = fateOf.get(connectionId)
    listener.changed({
      connectionId,
      status: fate?.moved ? 'moved' : 'disconnected',
      reason: fate ? fate.reason : 'removed',
    })
  }
  for (const { connectionId } of now) {
    if (!before.some((was) => was.connectionId === connectionId))
      listener.changed({ connectionId, status: 'connected', reason: null })
  }
}
