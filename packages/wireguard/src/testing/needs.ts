import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'

const runs = (tool: string, ...args: string[]): boolean => spawnSync(tool, args, { stdio: 'ignore' }).status === 0

const PARTS = {
  root: { missing: 'root', there: () => process.getuid?.() === 0 },
  namespace: { missing: 'the right to make a network namespace', there: () => runs('unshare', '--net', 'true') },
  tun: { missing: 'a usable /dev/net/tun', there: () => canOpen('/dev/net/tun') },
  wg: { missing: 'wireguard-tools', there: () => runs('wg', '--version') },
  'wg-quick': { missing: 'wg-quick', there: () => runs('wg-quick', '--help') },
  'wireguard-go': { missing: 'wireguard-go', there: () => runs('wireguard-go', '--version') },
} as const

export type Part = keyof typeof PARTS

function canOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}

/**
 * The options of a test that needs parts of the machine: it is skipped with a reason where one is missing, and fails
 * where CI=true, because there nothing may be missing.
 */
export function needs(...parts: Part[]): { skip: string | false } {
  const missing = parts.filter((part) => !PARTS[part].there()).map((part) => PARTS[part].missing)
  if (missing.length === 0) return { skip: false }
  const reason = `needs ${missing.join(', ')}`
  if (process.env['CI'] === 'true') throw new Error(`this test ${reason}`)
  return { skip: reason }
}
