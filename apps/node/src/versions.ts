/** The agent's version, as told at enrolment and on every link. */
export const AGENT_VERSION = '0.1.0'

type Numbers = readonly number[]

/** Negative when `a` is older than `b`; missing numbers count as 0. */
export function compareVersions(a: Numbers, b: Numbers): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

/** The numbers at the first place where some are joined by dots; empty when there is none. */
export const numbersIn = (text: string): number[] =>
  (/\d+(?:\.\d+)+/.exec(text)?.[0] ?? '').split('.').filter(Boolean).map(Number)

/**
 * CVE-2024-26951, a dump of peers while some are removed reads freed memory: the first fixed release of each line the
 * kernel's makers still mended.
 */
const KERNEL_FIXES: readonly Numbers[] = [
  [5, 4, 274],
  [5, 10, 215],
  [5, 15, 154],
  [6, 1, 84],
  [6, 6, 24],
  [6, 7, 12],
  [6, 8, 3],
]

/**
 * True when the kernel's WireGuard lacks that fix.
 * @param release `uname -r` @param version `uname -v`; Debian names there the upstream release it is built from
 */
export function isOldKernel(release: string, version: string): boolean {
  const debian = /Debian (\d+\.\d+\.\d+)/.exec(version)?.[1]
  const running = numbersIn(debian ?? release)
  if (running.length === 0) return false
  const line = KERNEL_FIXES.find(([major, minor]) => running[0] === major && running[1] === minor)
  return line ? compareVersions(running, line) < 0 : compareVersions(running, [6, 8, 3]) < 0
}

/** CVE-2026-99059 (a response taken twice) is mended in wireguard-go after this release. */
const LAST_OPEN_WIREGUARD_GO: Numbers = [0, 0, 20250522]

/** True for a wireguard-go whose releases are known not to hold the fix. @param text `wireguard-go --version` */
export function isOldWireguardGo(text: string): boolean {
  const version = numbersIn(text)
  return version.length > 0 && compareVersions(version, LAST_OPEN_WIREGUARD_GO) <= 0
}

/** Node releases below this carry known faults that a remote server can use (security release of November 2026). */
export const isOldNode = (version: string): boolean => {
  const running = numbersIn(version)
  return running[0] === 24 && compareVersions(running, [24, 22, 3]) < 0
}
