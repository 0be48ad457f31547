import type { Auth } from './auth/index.ts'
import type { Billing } from './billing/index.ts'
import { parseConfig, type Config, type Env } from './platform/config/index.ts'
import { createLog } from './platform/log.ts'
import { embeddedPostgresUrl } from './platform/postgres/index.ts'
import { readProtectionConfig } from './protection/index.ts'
import { buildRooms, type Rooms } from './rooms.ts'
import { startFoundation } from './start.ts'

/** What an operator's command may do with billing. */
export type BillingWork = Pick<Billing, 'syncPlans' | 'reconcile' | 'move'>

/** What an operator's command may do with accounts. */
export type UsersWork = Pick<Auth, 'resetFactors'>

/** There is no payment provider that a command could talk to. */
export class BillingOff extends Error {}

function assertBilling(config: Config): void {
  if (config.STRIPE_STANDIN)
    throw new BillingOff(
      'The stand-in for Stripe (STRIPE_STANDIN) lives inside prime serve, which makes its prices and is told of every payment: there is nothing to do from here.',
    )
  if (config.STRIPE_SECRET_KEY === undefined)
    throw new BillingOff('Billing is switched off: STRIPE_SECRET_KEY is not set.')
}

/** The embedded database of a service that runs beside us has its folder: we go in as a guest. */
async function besideRunning(config: Config): Promise<Config> {
  if (config.DATABASE_URL !== undefined) return config
  const running = await embeddedPostgresUrl(config.DATA_DIR)
  return running ? { ...config, DATABASE_URL: running.appUrl, MIGRATE_DATABASE_URL: running.ownerUrl } : config
}

/**
 * Does a room's work for a command: the configuration, database and rooms of `prime serve`, but nothing listens and no
 * job runs. Mails and ends of tunnels that the work brings about are queued for the service.
 */
async function withRooms<T>(env: Env, settings: Config, work: (rooms: Rooms) => Promise<T>): Promise<T> {
  const config = await besideRunning(settings)
  const log = createLog('warn')
  const foundation = await startFoundation(config, log)
  try {
    const rooms = await buildRooms(config, readProtectionConfig(env).config, foundation, log)
    try {
      return await work(rooms)
    } finally {
      await rooms.protection.close()
      rooms.auth.close()
      rooms.mailer.close()
    }
  } finally {
    await foundation.stop()
  }
}

/** Work of the billing room. @throws {ConfigError} {BillingOff} before anything is started */
export async function withBilling<T>(env: Env, work: (billing: BillingWork) => Promise<T>): Promise<T> {
  const settings = parseConfig(env)
  assertBilling(settings)
  return withRooms(env, settings, ({ billing }) => work(billing))
}

/** Work on accounts. @throws {ConfigError} before anything is started */
export const withUsers = async <T>(env: Env, work: (users: UsersWork) => Promise<T>): Promise<T> =>
  withRooms(env, parseConfig(env), ({ auth }) => work(auth))
