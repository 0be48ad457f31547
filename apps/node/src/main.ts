#!/usr/bin/env node
import { diagnose, asText } from './commands/doctor.ts'
import { join } from './commands/join.ts'
import { confirmed, leave } from './commands/leave.ts'
import { run } from './commands/run.ts'
import { status } from './commands/status.ts'
import { HELP, parseCommand, type Command } from './cli.ts'
import { Failure, oneLine } from './failures.ts'
import { levelOf, openLog, type Log } from './log.ts'
import { AGENT_VERSION } from './versions.ts'

/** Carries a command out. @returns the exit code of api.md, section 9 */
async function carryOut(command: Command, log: Log): Promise<number> {
  switch (command.name) {
    case 'help':
      print(HELP.trimEnd())
      return 0
    case 'version':
      print(`prime-node ${AGENT_VERSION}`)
      return 0
    case 'join':
      await join(command, log)
      await run(command.dataDir, log, untilSignal())
      return 0
    case 'run':
      await run(command.dataDir, log, untilSignal())
      return 0
    case 'status': {
      const { text, exitCode } = await status(command.dataDir, command.json)
      print(text)
      return exitCode
    }
    case 'doctor': {
      const diagnosis = await diagnose(command.dataDir)
      print(command.json ? JSON.stringify(diagnosis) : asText(diagnosis))
      return 0
    }
    case 'leave':
      if (await confirmed(command.yes)) await leave(command.dataDir, log)
      return 0
    default:
      return command satisfies never
  }
}

function untilSignal(): AbortSignal {
  const controller = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => controller.abort())
  return controller.signal
}

const print = (text: string): void => void process.stdout.write(`${text}\n`)

async function main(): Promise<void> {
  process.umask(0o077)
  const log = openLog(levelOf(process.env['LOG_LEVEL']))
  try {
    process.exitCode = await carryOut(parseCommand(process.argv.slice(2), process.env), log)
  } catch (error) {
    const line =
      error instanceof Failure ? error.message : error instanceof Error ? `failed: ${error.message}` : 'failed'
    process.stderr.write(`prime-node: ${oneLine(line, 400)}\n`)
    process.exitCode = error instanceof Failure ? error.exitCode : 1
  }
  // Sockets that are being closed politely must not hold a stopped agent back.
  process.exit()
}

await main()
