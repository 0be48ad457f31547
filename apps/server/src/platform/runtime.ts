/** The security release of November 2026: below it a remote client can end the process. */
const [MINOR, PATCH] = [22, 3]

/** What to tell whoever runs on this release of Node; null when nothing is known against it. @param version `process.version` */
export function runtimeWarning(version: string): string | null {
  const [, major, minor, patch] = (/^v(\d+)\.(\d+)\.(\d+)/.exec(version) ?? []).map(Number)
  if (major !== 24 || minor === undefined || patch === undefined) return null
  if (minor > MINOR || (minor === MINOR && patch >= PATCH)) return null
  return `Node.js ${version} has known security faults: install 24.${MINOR}.${PATCH} or newer`
}
