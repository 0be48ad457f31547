import { z } from 'zod'
import { invalidField } from '../errors.ts'
import type { App } from './app-type.ts'
import type { UpgradeRoute } from './upgrades.ts'

/**
 * The paths of sockets as HTTP routes, which say what is missing. A proxy that passes no `Upgrade` makes plain GETs of
 * every open: were the path an unknown one, it would have apps and nodes banned.
 */
export function refusePlainCalls(app: App, sockets: readonly Pick<UpgradeRoute, 'path' | 'rule'>[]): void {
  for (const { path, rule = 'WEBSOCKET' } of sockets)
    app.get(
      path,
      { config: { needs: 'public', rule }, schema: { hide: true, querystring: z.object({}) } },
      async () => {
        throw invalidField('Upgrade', 'must be websocket; a proxy in between has to pass it')
      },
    )
}
