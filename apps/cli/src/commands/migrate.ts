import { parseArgs } from 'node:util'
import { UsageError, type Command } from '../command.ts'

type Target = { url: string; stop(): Promise<void> }

/** The configured database, or the embedded one: the running one's, else started for the moment. */
async function target(): Promise<Target> {
  const { createLog, embeddedPostgresUrl, parseConfig, readEnv, startEmbeddedPostgres } =
    await import('@prime-vpn/server')
  const config = parseConfig(readEnv(process.env))
  const url = config.MIGRATE_DATABASE_URL ?? config.DATABASE_URL
  if (url) return { url, stop: async () => undefined }
  const running = await embeddedPostgresUrl(config.DATA_DIR)
  if (running) return { url: running.ownerUrl, stop: async () => undefined }
  const embedded = await startEmbeddedPostgres({ dataDir: config.DATA_DIR, log: createLog('warn') })
  return { url: embedded.ownerUrl, stop: () => embedded.stop() }
}

function steps(text: string | undefined): number {
  const count = Number(text ?? '1')
  if (!Number.isInteger(count) || count < 1) throw new UsageError('--steps must be a whole number from 1')
  return count
}

const listed = (names: string[], what: string): string =>
  names.length > 0 ? names.map((n) => `${what} ${n}`).join('\n') : 'Nothing to do.'

export const migrate: Command = {
  name: 'migrate',
  summary: "Bring the database's tables up, down, or tell where they stand.",
  usage: `Usage: prime migrate up
       prime migrate down [--steps N]
       prime migrate status

  --steps N  take back the last N migrations (1)
  --json     print JSON

Works on MIGRATE_DATABASE_URL, else DATABASE_URL, else the embedded database.`,
  async run(args) {
    const { positionals, values } = parseArgs({
      args: [...args],
      options: { steps: { type: 'string' }, json: { type: 'boolean' } },
      allowPositionals: true,
    })
    const [direction, ...rest] = positionals
    if (rest.length > 0 || !['up', 'down', 'status'].includes(direction ?? ''))
      throw new UsageError("say 'up', 'down' or 'status'")
    const count = steps(values.steps)
    const { migrateDown, migrateUp, migrationStatus } = await import('@prime-vpn/server')
    const database = await target()
    const show = (value: unknown, text: string) => console.log(values.json ? JSON.stringify(value) : text)
    try {
      if (direction === 'status') {
        const all = await migrationStatus(database.url)
        show(
          all,
          all.map((m) => `${m.applied_at ? m.applied_at.toISOString() : 'to come'.padEnd(24)}  ${m.name}`).join('\n'),
        )
      } else {
        const names = direction === 'up' ? await migrateUp(database.url) : await migrateDown(database.url, count)
        show(names, listed(names, direction === 'up' ? 'applied' : 'took back'))
      }
      return 0
    } finally {
      await database.stop()
    }
  },
}
