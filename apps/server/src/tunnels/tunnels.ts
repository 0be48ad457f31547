import type { TunnelDeps } from './deps.ts'
import { endTunnels, whenGone, type Ended, type EndReason, type Removal } from './end.ts'
import { listenForEnds } from './events.ts'
import { sameAddress } from './address.ts'
import { addressesOf } from './store.ts'
import { startUpkeep, tunnelJobs } from './upkeep.ts'

/** What other rooms and the composition root get of this one. */
export type Tunnels = ReturnType<typeof createTunnels>

/** The room: background work and what others may ask of it. Nothing runs before `start`. */
export function createTunnels(deps: TunnelDeps) {
  let upkeep: { stop(): Promise<void> } | undefined
  let unlisten: (() => Promise<void>) | undefined
  return {
    ...tunnelJobs(deps),

    /** Ends tunnels at once, in a transaction of its own, and wakes their nodes. */
    async end(ids: readonly string[], reason: EndReason): Promise<Ended[]> {
      const ended = await endTunnels(deps.db, ids, reason)
      for (const { server_id } of ended) if (server_id !== null) deps.nodeLink.wake(server_id)
      return ended
    },

    /** Waits until the nodes hold these no more: 'removed on N of N nodes'. @param timeoutMs at most */
    whenGone: (ended: readonly Ended[], timeoutMs: number): Promise<Removal> => whenGone(deps, ended, timeoutMs),

    /**
     * True when a call from this address comes through a present tunnel of the device: the answer to its deletion must
     * get out first. The deleting transaction then does `set local prime.linger_ms = 500`.
     */
    async carriesDevice(deviceId: string, from: string): Promise<boolean> {
      const servers = await deps.db<{ server_id: string }[]>`
        select server_id from connections
         where device_id = ${deviceId} and status = 'connected' and server_id is not null`
      for (const { server_id } of servers) {
        if ((await addressesOf(deps.db, server_id)).some((address) => sameAddress(address, from))) return true
      }
      return false
    },

    async start(): Promise<void> {
      unlisten = await listenForEnds(deps.db, deps.kv, deps.log)
      upkeep = startUpkeep(deps)
    },
    async stop(): Promise<void> {
      await upkeep?.stop()
      await unlisten?.()
    },
  }
}
