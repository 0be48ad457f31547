import { parseArgs } from 'node:util'
import { UsageError, type Command } from '../command.ts'

export const keys: Command = {
  name: 'keys',
  summary: "Make the installation's secret keys.",
  usage: `Usage: prime keys init

Makes SECRETS_FILE (default DATA_DIR/secrets.json, readable by its owner only) if it is not there. Every instance of one
installation needs the same file; keep a copy where the database's backups are not.`,
  async run(args) {
    const { positionals } = parseArgs({ args: [...args], options: {}, allowPositionals: true })
    if (positionals.length !== 1 || positionals[0] !== 'init') throw new UsageError("say 'init'")
    const { initSecrets, parseConfig, readEnv } = await import('@prime-vpn/server')
    // Only the file's place is asked for, so that keys can be made before the rest of production is set.
    const config = parseConfig({ ...readEnv(process.env), NODE_ENV: 'development' })
    const outcome = await initSecrets(config.SECRETS_FILE)
    console.log(
      outcome === 'made' ? `Made ${config.SECRETS_FILE}.` : `${config.SECRETS_FILE} is there already; left as it is.`,
    )
    return 0
  },
}
