import type { Auth } from '../auth/index.ts'
import type { NodeLinks } from '../node-link/index.ts'
import { systemClock, type Clock } from '../platform/clock.ts'
import type { Sql } from '../platform/db/index.ts'
import type { UpgradeRequest, UpgradeRoute } from '../platform/http/index.ts'
import type { Kv } from '../platform/kv/index.ts'
import type { Log } from '../platform/log.ts'
import { createLedger } from './ledger.ts'
import { LiveBoard, STATUS_WATCH_MS, type LiveKey, type LiveSample } from './live.ts'
import { socketRoute } from './socket-route.ts'
import { createSockets } from './sockets.ts'

const TICK_MS = 1_000
/** A database that does not answer must not keep the process from stopping. */
const STOP_MS = 5_000

export type UsageDeps = {
  db: Sql
  kv: Kv
  log: Log
  auth: Pick<Auth, 'authenticateToken' | 'refreshPrincipal' | 'onSessionRevoked'>
  links: Pick<NodeLinks, 'onReport' | 'onLive' | 'watch'>
  /** Per cent of a server's room in use, from the fleet's snapshot; null = unknown. */
  loadOf: (serverId: string) => number | null
  /** `WS_QUERY_JWT` */
  queryJwt: boolean
  /** The rule `WEBSOCKET`: throws when this user opens too many. */
  limitSockets?: (userId: string, req: UpgradeRequest) => Promise<void>
  clock?: Clock
}

export type Usage = {
  /** `WS /ws/connection/{user_id}`, for the upgrade kit. */
  socketRoute: UpgradeRoute
  /** The present numbers of tunnels; asking has them watched for 30 s. */
  live: {
    /** In the order of the keys; null where there is no such tunnel. */
    read(keys: readonly LiveKey[]): Promise<(LiveSample | null)[]>
    watch(keys: readonly LiveKey[]): void
  }
  /** Writes every counter that waits now, for those who are about to read totals. */
  flush(): Promise<void>
  start(): Promise<void>
  /** After the node links have stopped. */
  stop(): Promise<void>
}

/** Counters into connections, and live numbers out to those who look. */
export function createUsage(deps: UsageDeps): Usage {
  const { db, kv, log, auth, links, loadOf, queryJwt, limitSockets, clock = systemClock } = deps
  const ledger = createLedger({ db, log, clock })
  const board = new LiveBoard({ db, clock, links })
  const sockets = createSockets({ db, kv, log, clock, board, auth, loadOf })
  links.onReport((report) => ledger.add(report))
  links.onLive((report) => board.take(report))
  let ticks: NodeJS.Timeout | undefined

  return {
    socketRoute: socketRoute({ auth, kv, sockets, queryJwt, ...(limitSockets ? { limit: limitSockets } : {}) }),
    live: {
      read: (keys) => board.read(keys),
      watch: (keys) => {
        board.watch(keys, STATUS_WATCH_MS).catch((err: unknown) => log.warn({ err }, 'tunnels could not be watched'))
      },
    },
    flush: () => ledger.flush(),
    async start() {
      ticks = setInterval(() => board.tick(), TICK_MS).unref()
      await sockets.start()
    },
    async stop() {
      clearInterval(ticks)
      await sockets.stop()
      await Promise.race([ledger.stop(), new Promise((resolve) => setTimeout(resolve, STOP_MS).unref())])
    },
  }
}
