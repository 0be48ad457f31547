import type { Jobs, Schedule } from '../platform/jobs.ts'
import { overlapMs, type TunnelDeps } from './deps.ts'
import { lostKeys, undoKey, type DeviceKey } from './device-key-store.ts'
import { deleteSubscription } from './device-subscription-store.ts'
import { endTunnels, enforceEntitlement, type Ended } from './end.ts'
import {
  dueSuperseded,
  forgetUnusedKeys,
  idleTunnels,
  overEntitled,
  releaseLeaving,
  settleSeatDebts,
} from './upkeep-store.ts'

const TURN_MS = 1_000
/** Plan changes end tunnels in their own transaction; this finds what only the clock or a plan's new limit changed. */
const SWEEP_EVERY_TURNS = 10
/** A call that makes a key is over so long after its wait for the server, however slow the database is. */
const MARGIN_MS = 30_000

type Deps = Pick<TunnelDeps, 'db' | 'log' | 'nodeLink' | 'settings'>

const wake = ({ nodeLink }: Deps, ended: readonly Ended[]): void => {
  for (const server of new Set(ended.map((e) => e.server_id))) if (server !== null) nodeLink.wake(server)
}

/** Ends tunnels that were moved away from, lets go of peers that stayed for their answer, gives back owed seats. */
export async function turn(deps: Deps): Promise<void> {
  await releaseLeaving(deps.db)
  await settleSeatDebts(deps.db)
  const due = await dueSuperseded(deps.db)
  for (const rekeyed of [false, true]) {
    const ids = due.filter((old) => old.rekeyed === rekeyed).map(({ id }) => id)
    if (ids.length > 0) wake(deps, await endTunnels(deps.db, ids, rekeyed ? 'key_rotated' : 'moved'))
  }
}

/** The device has the key and tunnel it had before a conf was made whose answer was lost with its instance. */
async function undoLost({ db, log, nodeLink, settings }: Deps, key: DeviceKey): Promise<void> {
  try {
    const servers = await db.begin(async (tx) => {
      // Takes the user's lock, which comes first.
      const woken = await undoKey(tx, key, { connection: null, claimed: false, overlapMs: overlapMs(settings) })
      await deleteSubscription(tx, key.deviceId, key.publicKey)
      return woken
    })
    for (const server of servers) nodeLink.wake(server)
  } catch (err) {
    // The others are not to wait for it.
    log.warn({ err, device: key.deviceId }, 'a lost key was not taken back')
  }
}

/**
 * Ends what plans and accounts do not allow any more, each user in a transaction of his own, and takes back keys made for
 * answers that never came.
 */
export async function sweep(deps: Deps): Promise<void> {
  for (const user of await overEntitled(deps.db)) wake(deps, await enforceEntitlement(deps.db, user))
  for (const key of await lostKeys(deps.db, deps.settings.connectTimeoutMs + MARGIN_MS)) await undoLost(deps, key)
}

/** Work by the clock; the queue runs each once, however many instances there are. */
export function tunnelJobs(deps: Deps): { jobs: Jobs; schedule: Schedule[] } {
  return {
    jobs: {
      'tunnels.idle': async () =>
        wake(deps, await endTunnels(deps.db, await idleTunnels(deps.db, deps.settings.idleHours), 'idle')),
      'tunnels.keys': async () => void (await forgetUnusedKeys(deps.db)),
    },
    schedule: [
      { cron: '*/5 * * * *', job: 'tunnels.idle' },
      { cron: '17 3 * * *', job: 'tunnels.keys' },
    ],
  }
}

/** Runs `turn` each second and `sweep` each ten, on every instance: what one has done the others find done. */
export function startUpkeep(deps: Deps): { stop(): Promise<void> } {
  let turns = 0
  let stopped = false
  let running: Promise<void> = Promise.resolve()
  const step = async (): Promise<void> => {
    try {
      await turn(deps)
      if (turns++ % SWEEP_EVERY_TURNS === 0) await sweep(deps)
    } catch (err) {
      deps.log.warn({ err }, 'the upkeep of tunnels is late')
    }
  }
  let timer: NodeJS.Timeout | undefined
  const plan = (): void => {
    if (stopped) return
    timer = setTimeout(() => void (running = round()), TURN_MS)
    timer.unref()
  }
  const round = async (): Promise<void> => {
    await step()
    plan()
  }
  plan()
  return {
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running
    },
  }
}
