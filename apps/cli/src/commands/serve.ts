import { parseArgs } from 'node:util'
import type { Command } from '../command.ts'

export const serveCommand: Command = {
  name: 'serve',
  summary: 'Start the control plane.',
  usage: `Usage: prime serve

Settings come from the environment and a .env file (see .env.example); none is needed to try it: without DATABASE_URL
an embedded PostgreSQL runs under DATA_DIR (./data). Stops cleanly at Ctrl-C.`,
  async run(args) {
    parseArgs({ args: [...args], options: {}, allowPositionals: false })
    const { serve } = await import('@prime-vpn/server')
    return serve()
  },
}
