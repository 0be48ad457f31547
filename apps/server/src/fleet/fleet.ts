import { FLEET_CHANGED, FLEET_STATUS, tell } from './channels.ts'
import { Catalogue } from './catalogue.ts'
import type { Acts, FleetDeps } from './deps.ts'
import { Exits } from './exits.ts'
import { createLinks, type FleetLinks } from './links.ts'
import { settleFleet, type StatusChange } from './node-store.ts'
import { createRefresher } from './refresher.ts'
import { candidates, type Candidates, type Wish } from './select.ts'
import { Snapshot, type FleetServer } from './snapshot.ts'
import { SETTLE_MS } from './timing.ts'

/** A place on a server that this process is about to fill. One of the two is called, once; more changes nothing. */
export type Reservation = {
  /** The tunnel was committed, here or on another of the candidates. */
  settle(on?: string): void
  /** There will be no tunnel. */
  release(): void
}

export type Fleet = FleetLinks & {
  /** Servers to try for a connect, from memory; see `Candidates`. @throws {NotFound} @throws {AppError} */
  candidates(wish: Wish): Candidates
  /** Counts a tunnel on this server at once, so that a burst spreads before the next look at the database. */
  reserve(serverId: string): Reservation
  /** A server customers may know of. */
  byId(id: string): FleetServer | undefined
  snapshot(): readonly FleetServer[]
  /** Where our tunnels come out: of servers whose link was up in the last 10 minutes, their address and reported exits. */
  exitAddresses(): readonly string[]
  catalogue: Catalogue
  /** Reads the fleet now. */
  refresh(): Promise<void>
  /** Writes status, load and ping, and brings free seats in line; also done every 10 s. Safe on several instances. */
  settle(): Promise<StatusChange[]>
  start(): Promise<void>
  stop(): Promise<void>
  acts: Acts
}

/** The servers: what is known of them in memory, who of them is chosen, and what staff and nodes change. */
export function createFleet(deps: FleetDeps): Fleet {
  const { db, kv, log, links, vpnSubnet, random = Math.random } = deps
  const snapshot = new Snapshot()
  const exits = new Exits(db)
  const refresher = createRefresher({ db, kv, log, snapshot, exits })
  let timer: NodeJS.Timeout | undefined
  let settling: Promise<unknown> = Promise.resolve()

  async function changed(serverId: string): Promise<void> {
    await tell(kv, FLEET_CHANGED, serverId)
    // The write is done: that it cannot be read now is no fault of the call, and is read within a second.
    await refresher.refresh().catch((err: unknown) => log.warn({ err }, 'the fleet cannot be read'))
  }

  async function settle(): Promise<StatusChange[]> {
    const changes = await db.begin((tx) => settleFleet(tx))
    for (const change of changes) await tell(kv, FLEET_STATUS, JSON.stringify(change))
    if (changes.length > 0) await changed('')
    return changes
  }

  function settleLater(): void {
    timer = setTimeout(() => {
      settling = settle().catch((err: unknown) => log.warn({ err }, 'the state of the fleet could not be written'))
      void settling.then(() => timer && settleLater())
    }, SETTLE_MS)
    timer.unref()
  }

  return {
    ...createLinks({ db, kv, changed }),
    candidates: (wish) => candidates(snapshot, wish, random),
    reserve(serverId) {
      let open = true
      const end = (): boolean => {
        if (!open) return false
        open = false
        snapshot.close(serverId)
        return true
      }
      snapshot.open(serverId)
      return {
        settle(on = serverId) {
          if (end()) snapshot.settle(on)
        },
        release: () => void end(),
      }
    },
    byId: (id) => snapshot.byId(id),
    snapshot: () => snapshot.servers,
    exitAddresses: () => exits.addresses,
    catalogue: new Catalogue(snapshot),
    refresh: () => refresher.refresh(),
    settle,
    async start() {
      await refresher.start()
      settleLater()
    },
    async stop() {
      clearTimeout(timer)
      timer = undefined
      await settling
      await refresher.stop()
    },
    acts: { db, kv, links, vpnSubnet, changed },
  }
}
