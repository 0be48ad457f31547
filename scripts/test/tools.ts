import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'

/** Programs that tests start, and the Debian package of each. */
const NEEDED: Record<string, string> = {
  'redis-server': 'redis-server',
  ip: 'iproute2',
  ping: 'iputils-ping',
  wg: 'wireguard-tools',
  'wireguard-go': 'wireguard-go',
  nft: 'nftables',
  conntrack: 'conntrack',
  iperf3: 'iperf3',
  tcpdump: 'tcpdump',
  curl: 'curl',
  strace: 'strace',
}

/** Debian keeps many of them where an ordinary PATH does not look. */
export const PATH = `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`

export function has(program: string): boolean {
  return PATH.split(':').some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

function apt(...args: string[]): boolean {
  const env = { ...process.env, PATH, DEBIAN_FRONTEND: 'noninteractive' }
  const { status, stderr } = spawnSync('apt-get', ['-qq', ...args], { env, stdio: ['ignore', 'ignore', 'pipe'] })
  if (status !== 0) console.error(String(stderr).trim())
  return status === 0
}

const install = (packages: string[]): boolean => apt('install', '-y', '--no-install-recommends', ...packages)

/**
 * Installs what tests need and is missing, as root on Debian; elsewhere says what is missing. Tests that need it then
 * skip with a reason.
 * @param browser whether there are tests that drive one
 */
export function ensureTools(browser: boolean): void {
  const needed = { ...NEEDED, ...(browser ? { chromium: 'chromium' } : {}) }
  const missing = Object.entries(needed).filter(([program]) => !has(program))
  if (!missing.length) return
  const packages = missing.map(([, name]) => name)
  if (process.getuid?.() !== 0 || !has('apt-get')) {
    console.log(`missing: ${missing.map(([program]) => program).join(', ')}; tests that need them are skipped`)
    return
  }
  for (const name of packages) console.log(`installing ${name} (Debian package)`)
  if (install(packages)) return
  apt('update')
  if (!install(packages)) console.log('the installation failed; tests that need these are skipped')
}
