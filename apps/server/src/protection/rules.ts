import type { Limit } from './limiter/limiter.ts'

/** Who a rule counts. */
export type RuleKey = 'address' | 'user' | 'account' | 'all'

export const RULES = [
  'AUTH_LOGIN',
  'AUTH_REGISTER',
  'AUTH_PASSWORD_RESET',
  'VPN_CONNECT',
  'VPN_DISCONNECT',
  'PAYMENTS',
  'WEBSOCKET',
  'API',
  'IP',
  'AUTH_FACTOR',
  'AUTH_DEVICE_CODE',
  'AUTH_ACCOUNT_NETWORK',
] as const
export type RuleName = (typeof RULES)[number]

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const rule = (limit: number, windowMs: number, burst = 0): Limit => ({ limit, windowMs, burst })

/** The table of api.md, section 7. Each may be set by `RATE_LIMIT_<RULE>`. */
export const DEFAULT_LIMITS: Readonly<Record<RuleName, Limit>> = {
  AUTH_LOGIN: rule(5, 5 * MINUTE, 2),
  AUTH_REGISTER: rule(3, HOUR, 1),
  AUTH_PASSWORD_RESET: rule(3, HOUR, 1),
  VPN_CONNECT: rule(20, MINUTE, 5),
  VPN_DISCONNECT: rule(30, MINUTE, 10),
  PAYMENTS: rule(10, 5 * MINUTE, 3),
  WEBSOCKET: rule(5, MINUTE, 2),
  API: rule(60, MINUTE, 20),
  IP: rule(100, MINUTE),
  AUTH_FACTOR: rule(10, HOUR),
  AUTH_DEVICE_CODE: rule(300, HOUR),
  AUTH_ACCOUNT_NETWORK: rule(1, MINUTE),
}

/** Said in `GET /admin/rate-limits/config`. */
export const KEYS_OF: Readonly<Record<RuleName, readonly RuleKey[]>> = {
  AUTH_LOGIN: ['address', 'account'],
  AUTH_REGISTER: ['address'],
  AUTH_PASSWORD_RESET: ['address', 'account'],
  VPN_CONNECT: ['user'],
  VPN_DISCONNECT: ['user'],
  PAYMENTS: ['user'],
  WEBSOCKET: ['user'],
  API: ['user', 'address'],
  IP: ['address'],
  AUTH_FACTOR: ['account'],
  AUTH_DEVICE_CODE: ['all'],
  AUTH_ACCOUNT_NETWORK: ['account', 'address'],
}

/** Routes may name these instead of a rule: what `API` would be too much or too little for. */
export const ROUTE_KINDS = ['HEALTH', 'STATIC', 'WEBHOOK', 'NODE_LINK'] as const
export type RouteKind = (typeof ROUTE_KINDS)[number]

/** `AUTH_*` rules whose address keys also hold over an IPv6 /48, and are wider for a fleet address. */
export const isSignIn = (name: RuleName): boolean =>
  name === 'AUTH_LOGIN' || name === 'AUTH_REGISTER' || name === 'AUTH_PASSWORD_RESET'

/** An IPv6 /48 may use this many times the limit of one /64 in it. */
export const PREFIX_FACTOR = 8
/** From an address that our own tunnels come out of, where many customers share one. */
export const FLEET_ANONYMOUS_FACTOR = 20
export const FLEET_SIGN_IN_FACTOR = 4

/** A limit `factor` times as wide, never below one request. */
export const scaled = ({ limit, burst, windowMs }: Limit, factor: number): Limit =>
  factor === 1
    ? { limit, burst, windowMs }
    : { limit: Math.max(1, Math.floor(limit * factor)), burst: Math.floor(burst * factor), windowMs }

export const isRuleName = (text: string): text is RuleName => (RULES as readonly string[]).includes(text)
