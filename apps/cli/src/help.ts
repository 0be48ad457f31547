import type { Command } from './command.ts'

/** The overview, or one command's page. */
export function help(commands: readonly Command[], name?: string): string {
  const one = commands.find((command) => command.name === name)
  if (one) return `${one.summary}\n\n${one.usage}`
  const width = Math.max(...commands.map((command) => command.name.length))
  const lines = commands.map((command) => `  ${command.name.padEnd(width)}  ${command.summary}`)
  return `prime runs and steers Prime VPN.\n\nUsage: prime <command> [options]\n\n${lines.join('\n')}\n\nprime help <command> tells more.`
}
