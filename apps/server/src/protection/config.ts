import { contains, networkText, parseNetwork, type Network } from './address/address.ts'
import type { Limit } from './limiter/limiter.ts'
import { parseLimit } from './limit-text.ts'
import { DEFAULT_LIMITS, isRuleName, KEYS_OF, RULES, type RuleName } from './rules.ts'

type Env = Record<string, string | undefined>

export type ProtectionConfig = {
  /** False: no limits and no headers; bans still hold. */
  limitsEnabled: boolean
  /** False: nothing is banned automatically. */
  ddosEnabled: boolean
  adaptive: boolean
  limits: Readonly<Record<RuleName, Limit>>
  /** Anonymous API requests a minute, over all instances. */
  globalPerMinute: number
  /** Failed passwords in a row until an account also needs a mailed code. */
  accountFailures: number
  ddos: { perMinute: number; banSeconds: number }
  suspicious: { threshold: number; windowSeconds: number; banSeconds: number }
  /** Addresses that are neither banned nor counted by address. */
  listed: readonly Network[]
  trustedProxies: readonly Network[]
  geo: { allow: ReadonlySet<string>; deny: ReadonlySet<string>; file: string | undefined }
  connectionsPerAddress: number
  alertWebhook: string | undefined
}

const TRUE = new Set(['true', '1', 'yes', 'on'])
const FALSE = new Set(['false', '0', 'no', 'off'])
const MAX_BAN_S = 30 * 86_400

/** Reads values and collects every fault in the words an operator needs. */
class Reader {
  readonly faults: string[] = []
  readonly #env: Env
  constructor(env: Env) {
    this.#env = env
  }
  text(name: string): string | undefined {
    const value = this.#env[name]?.trim()
    return value === '' ? undefined : value
  }
  flag(name: string, fallback: boolean): boolean {
    const value = this.text(name)?.toLowerCase()
    if (value === undefined) return fallback
    if (TRUE.has(value)) return true
    if (!FALSE.has(value)) this.faults.push(`${name} must be true or false`)
    return false
  }
  whole(name: string, min: number, max: number, fallback: number): number {
    const value = this.text(name)
    if (value === undefined) return fallback
    const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN
    if (number >= min && number <= max) return number
    this.faults.push(`${name} must be a whole number from ${min} to ${max}`)
    return fallback
  }
  /** Separated by commas, or a JSON list. */
  list(name: string): string[] {
    const value = this.text(name)
    if (value === undefined) return []
    if (!value.startsWith('[')) return value.split(',').flatMap((item) => item.trim() || [])
    try {
      const items: unknown = JSON.parse(value)
      if (Array.isArray(items) && items.every((item) => typeof item === 'string')) return items
    } catch {
      // told below
    }
    this.faults.push(`${name} must be a JSON list of texts or a comma-separated list`)
    return []
  }
  networks(name: string): Network[] {
    const networks: Network[] = []
    for (const text of this.list(name)) {
      const network = parseNetwork(text)
      if (!network) this.faults.push(`${name}: ${text.slice(0, 60)} is not an address or a network such as 10.0.0.0/8`)
      else if (network.length === 0) this.faults.push(`${name} must not hold everybody (${networkText(network)})`)
      else networks.push(network)
    }
    return networks
  }
  countries(name: string): Set<string> {
    const codes = this.list(name).map((code) => code.toUpperCase())
    const wrong = codes.filter((code) => !/^[A-Z]{2}$/.test(code))
    if (wrong.length > 0) this.faults.push(`${name} must be two-letter country codes such as DE,FR`)
    return new Set(codes)
  }
}

function readLimits(reader: Reader, env: Env): Record<RuleName, Limit> {
  const limits = { ...DEFAULT_LIMITS }
  const set = (name: string, rule: RuleName) => {
    const text = reader.text(name)
    if (text === undefined) return
    const limit = parseLimit(text, DEFAULT_LIMITS[rule])
    if (typeof limit === 'string') reader.faults.push(`${name} ${limit}`)
    else limits[rule] = limit
  }
  for (const rule of RULES) set(`RATE_LIMIT_${rule}`, rule)
  if (reader.text('IP_RATE_LIMIT') && reader.text('RATE_LIMIT_IP'))
    reader.faults.push('IP_RATE_LIMIT and RATE_LIMIT_IP are the same setting: give one')
  set('IP_RATE_LIMIT', 'IP')
  const special = new Set(['RATE_LIMIT_ENABLED', 'RATE_LIMIT_GLOBAL', 'RATE_LIMIT_AUTH_ACCOUNT'])
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith('RATE_LIMIT_') || special.has(name) || !value?.trim()) continue
    if (!isRuleName(name.slice('RATE_LIMIT_'.length)))
      reader.faults.push(`${name} names no rule; the rules are ${RULES.join(', ')}`)
  }
  return limits
}

/** `1000`, or `1000/60s` as the other rules are written; only a minute is counted. */
function readGlobal(reader: Reader): number {
  const names = ['GLOBAL_RATE_LIMIT', 'RATE_LIMIT_GLOBAL'].filter((name) => reader.text(name) !== undefined)
  if (names.length > 1) reader.faults.push('GLOBAL_RATE_LIMIT and RATE_LIMIT_GLOBAL are the same setting: give one')
  const name = names[0]
  if (name === undefined) return 1_000
  const [, count] = /^(\d{1,9})(?:\/(?:60s|1m|1min))?$/.exec(reader.text(name) ?? '') ?? []
  if (count !== undefined && Number(count) >= 1) return Number(count)
  reader.faults.push(`${name} must be anonymous requests in a minute over all instances, such as 1000`)
  return 1_000
}

const perMinute = ({ limit, burst, windowMs }: Limit): number =>
  Math.min(limit + burst, ((limit + burst) * 60_000) / windowMs)

/** Settings that are each fine and together are hardly meant: told at start, obeyed all the same. */
function doubts({ limits, ddos, limitsEnabled, ddosEnabled, listed, trustedProxies }: ProtectionConfig): string[] {
  const found: string[] = []
  if (limitsEnabled && ddosEnabled && ddos.perMinute <= perMinute(limits.IP))
    found.push(
      `DDOS_THRESHOLD (${ddos.perMinute} a minute) is not above what IP_RATE_LIMIT admits (${Math.ceil(perMinute(limits.IP))}): callers within their limit get banned`,
    )
  const wider = RULES.filter((rule) => rule.startsWith('AUTH_') && KEYS_OF[rule].includes('address')).filter(
    (rule) => perMinute(limits[rule]) > perMinute(limits.IP),
  )
  if (wider.length > 0) found.push(`IP_RATE_LIMIT is below ${wider.join(', ')}: they never take effect`)
  const proxies = listed.filter((network) => trustedProxies.some((proxy) => contains(proxy, network)))
  if (proxies.length > 0)
    found.push(
      `DDOS_WHITELIST_IPS names trusted proxies (${proxies.map(networkText).join(', ')}): clients behind them are not listed`,
    )
  return found
}

function readAlertWebhook(reader: Reader): string | undefined {
  const text = reader.text('ALERT_WEBHOOK_URL')
  if (text === undefined) return undefined
  if (URL.canParse(text) && new URL(text).protocol === 'https:') return text
  reader.faults.push('ALERT_WEBHOOK_URL must be an https address')
  return undefined
}

export type ReadConfig = { config: ProtectionConfig; faults: string[]; warnings: string[] }

/** Reads the settings of this room (api.md, sections 7 and 8). With `faults` the service must not start. */
export function readProtectionConfig(env: Env): ReadConfig {
  const reader = new Reader(env)
  const config: ProtectionConfig = {
    limitsEnabled: reader.flag('RATE_LIMIT_ENABLED', true),
    ddosEnabled: reader.flag('DDOS_PROTECTION_ENABLED', true),
    adaptive: reader.flag('ADAPTIVE_THROTTLING', true),
    limits: readLimits(reader, env),
    globalPerMinute: readGlobal(reader),
    accountFailures: reader.whole('RATE_LIMIT_AUTH_ACCOUNT', 3, 10_000, 100),
    ddos: {
      perMinute: reader.whole('DDOS_THRESHOLD', 10, 1_000_000, 500),
      banSeconds: reader.whole('DDOS_BAN_DURATION', 1, MAX_BAN_S, 3_600),
    },
    suspicious: {
      threshold: reader.whole('SUSPICIOUS_ACTIVITY_THRESHOLD', 3, 10_000, 50),
      windowSeconds: reader.whole('SUSPICIOUS_ACTIVITY_WINDOW', 1, 86_400, 300),
      banSeconds: reader.whole('SUSPICIOUS_ACTIVITY_BAN', 1, MAX_BAN_S, 1_800),
    },
    listed: reader.networks('DDOS_WHITELIST_IPS'),
    trustedProxies: reader.networks('TRUSTED_PROXIES'),
    geo: {
      allow: reader.countries('GEO_ALLOW_COUNTRIES'),
      deny: reader.countries('GEO_DENY_COUNTRIES'),
      file: reader.text('GEOIP_FILE'),
    },
    connectionsPerAddress: reader.whole('CONNECTIONS_PER_ADDRESS', 4, 100_000, 200),
    alertWebhook: readAlertWebhook(reader),
  }
  const both = [...config.geo.allow].filter((code) => config.geo.deny.has(code))
  if (both.length > 0) reader.faults.push(`GEO_ALLOW_COUNTRIES and GEO_DENY_COUNTRIES both name ${both.join(', ')}`)
  return { config, faults: reader.faults, warnings: doubts(config) }
}
