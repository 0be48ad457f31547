import { composeServer, type ComposedServer } from './compose.ts'
import { explain } from './explain.ts'
import { ConfigError, parseConfig, readEnv, type Config, type Env } from './platform/config/index.ts'
import { createLog } from './platform/log.ts'
import { runtimeWarning } from './platform/runtime.ts'
import { readProtectionConfig, type ReadConfig } from './protection/index.ts'
import { startFoundation, withRealPort } from './start.ts'

export type Running = {
  url: string
  config: Config
  /** What is printed once, e.g. where the first admin's password is. */
  notices: string[]
  stop(): Promise<void>
}

/** How long a stop may take before the process ends anyway. */
const STOP_WITHIN_MS = 15_000
const IMPATIENT_AFTER_MS = 1_000

/** Both halves of the configuration. @throws {ConfigError} naming the faults of both */
function readSettings(env: Env): { config: Config; protecting: ReadConfig } {
  const protecting = readProtectionConfig(env)
  try {
    const config = parseConfig(env)
    if (protecting.faults.length > 0) throw new ConfigError([])
    return { config, protecting }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    throw new ConfigError([...error.faults, ...protecting.faults])
  }
}

/**
 * Starts the control plane: secrets, database, rooms, then listens.
 * @throws {ConfigError} naming every fault of the configuration; other errors carry a readable message
 */
export async function startServer(env: Env = readEnv(process.env)): Promise<Running> {
  const { config: settings, protecting } = readSettings(env)
  const config = await withRealPort(settings)
  const log = createLog(config.LOG_LEVEL)
  for (const warning of [runtimeWarning(process.version) ?? [], protecting.warnings].flat()) log.warn(warning)
  const foundation = await startFoundation(config, log)
  let server: ComposedServer | undefined
  const stop = async () => {
    await server?.stop()
    await foundation.stop()
  }
  try {
    server = await composeServer(config, protecting.config, foundation, log)
    return { config, ...(await server.start(process.stdout.isTTY)), stop }
  } catch (error) {
    // A port that is taken is found last, when every room runs: left running, they would keep the process alive.
    await stop().catch((err: unknown) => log.warn({ err }, 'stopping after a failed start'))
    throw error
  }
}

function banner({ url, config, notices }: Running): string {
  const lines = [
    `${config.APP_NAME} is ready.`,
    `  API        ${url}/api/v1`,
    `  Try it     ${url}/docs`,
    `  Read it    ${url}/redoc`,
    ...notices.map((notice) => `  ${notice}`),
  ]
  return `\n${lines.join('\n')}\n\nStop with Ctrl-C.\n`
}

/** `prime serve`: runs until SIGINT or SIGTERM. @returns the exit code */
export async function serve(): Promise<number> {
  const began = performance.now()
  // Heard before anything is started, so that a stop during the start still ends the database cleanly.
  const stopping = new Promise<NodeJS.Signals>((resolve) => {
    process.once('SIGINT', resolve)
    process.once('SIGTERM', resolve)
  })
  let running: Running
  try {
    running = await startServer()
  } catch (error) {
    console.error(explain(error))
    return 1
  }
  console.log(banner(running))
  console.error(`Ready after ${Math.round(performance.now() - began)} ms.`)
  await stopping
  const stoppedAt = performance.now()
  // One Ctrl-C may arrive twice (terminal and npm); a second one later means: now.
  process.on('SIGINT', () => performance.now() - stoppedAt > IMPATIENT_AFTER_MS && process.exit(130))
  setTimeout(() => process.exit(1), STOP_WITHIN_MS).unref()
  await running.stop()
  return 0
}
