import { adminNotices } from './admin-notice.ts'
import { privacyJobs } from './me/index.ts'
import type { Config } from './platform/config/index.ts'
import { forgetOldMarks, type App } from './platform/http/index.ts'
import { startJobs, type Jobs, type Schedule } from './platform/jobs.ts'
import type { Log } from './platform/log.ts'
import type { ProtectionConfig } from './protection/index.ts'
import { buildRooms, type Rooms } from './rooms.ts'
import { buildApp, buildUpgrades } from './routes.ts'
import type { Foundation } from './start.ts'
import { usageJobs, usageSchedule } from './usage/index.ts'

export type ComposedServer = {
  app: App
  /**
   * @param terminal whether a person sees what is printed, and no log keeps it
   * @returns where it listens, and what is to be printed once
   */
  start(terminal: boolean): Promise<{ url: string; notices: string[] }>
  stop(): Promise<void>
}

const FORGET_MARKS = 'platform.forget-marks'
const CLOSE_IDLE_EVERY_MS = 100

function jobsOf(
  { sql, secrets }: Foundation,
  { auth, ends, protection, billing, tunnels }: Rooms,
): { jobs: Jobs; schedule: Schedule[] } {
  const privacy = privacyJobs({ db: sql, secrets, ends, auth })
  const rooms = [auth, privacy, protection, billing, tunnels, { jobs: usageJobs(sql), schedule: usageSchedule }]
  const own = {
    jobs: { [FORGET_MARKS]: () => forgetOldMarks(sql) },
    schedule: [{ cron: '17 * * * *', job: FORGET_MARKS }],
  }
  const all = [own, ...rooms]
  return {
    jobs: Object.assign({}, ...all.map((room) => room.jobs)) as Jobs,
    schedule: all.flatMap((room) => room.schedule),
  }
}

/** Lets requests that run be answered; connections that fall idle meanwhile are closed at once, not after their time. */
async function closeHttp(app: App): Promise<void> {
  const closing = setInterval(() => app.server.closeIdleConnections(), CLOSE_IDLE_EVERY_MS)
  try {
    await app.close()
  } finally {
    clearInterval(closing)
  }
}

/** Puts rooms, routes, sockets and jobs together. Nothing runs before `start`. */
export async function composeServer(
  config: Config,
  protecting: ProtectionConfig,
  foundation: Foundation,
  log: Log,
): Promise<ComposedServer> {
  let stopping = false
  const rooms = await buildRooms(config, protecting, foundation, log)
  const { protection, auth, fleet, billing, nodeLinks, tunnels, usage, mailer } = rooms
  const app = await buildApp(config, foundation, rooms, log, () => stopping)
  const upgrades = buildUpgrades(config, rooms, log)
  upgrades.attach(app.server)
  protection.shield(app.server)
  let runner: { stop(): Promise<void> } | undefined

  return {
    app,
    async start(terminal) {
      const notices = await adminNotices(await auth.ensureFirstAdmin(), { dataDir: config.DATA_DIR, terminal })
      for (const room of [protection, fleet, nodeLinks, usage, tunnels]) await room.start()
      const { jobs, schedule } = jobsOf(foundation, rooms)
      const { url: databaseUrl, role } = foundation.database
      runner = await startJobs(databaseUrl, role, jobs, schedule, log, foundation.embedded)
      const url = await app.listen({ host: config.HOST, port: config.PORT, listenTextResolver: () => 'listening' })
      await billing.start(url)
      const standin = billing.standinUrl()
      if (standin) notices.push(`Payments   ${standin}   (a stand-in for Stripe on this machine; no money moves)`)
      return { url: config.PUBLIC_URL ?? url, notices }
    },
    /** Refuses what is new, lets what runs end, then stops room by room: those above before those they stand on. */
    async stop() {
      stopping = true
      await upgrades.close()
      await billing.stop()
      await closeHttp(app)
      await runner?.stop()
      for (const room of [tunnels, nodeLinks, usage, fleet]) await room.stop()
      await protection.close()
      auth.close()
      mailer.close()
    },
  }
}
