import { help } from './help.ts'
import { UsageError, type Command } from './command.ts'
import { billing } from './commands/billing.ts'
import { keys } from './commands/keys.ts'
import { migrate } from './commands/migrate.ts'
import { serveCommand } from './commands/serve.ts'
import { users } from './commands/users.ts'

export const commands: readonly Command[] = [serveCommand, migrate, keys, users, billing]

const USAGE = 2

/** Runs one command. @returns the exit code: 0 done, 1 failed, 2 wrong usage */
export async function prime(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    console.log(help(commands, rest[0]))
    return 0
  }
  if (name === '--version' || name === 'version') {
    console.log('0.1.0')
    return 0
  }
  const command = commands.find((c) => c.name === name)
  if (!command) {
    console.error(`prime: there is no command '${name}'. See: prime help`)
    return USAGE
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    console.log(help(commands, name))
    return 0
  }
  try {
    return await command.run(rest)
  } catch (error) {
    if (error instanceof UsageError || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS')) {
      console.error(`prime ${name}: ${(error as Error).message}\nSee: prime ${name} --help`)
      return USAGE
    }
    console.error(`prime ${name}: ${error instanceof Error ? error.message : String(error)}`)
    return 1
  }
}
